"""Write a model's passport: the same bytes for the same files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from cifar10 import LABELS, LABELS_ZH
from pictures import open_rgb, prepared, save_golden, variants

DATA = "the CIFAR-10 training pictures (as JPEG, quality 75), 5,000 of them kept for validation; no test picture"
"""What the cards of both models say of their data."""

SCORE_TOLERANCE = 0.1
"""Resizing kernels and JPEG decoders differ by a level or two from library to library."""


def write_labels(folder: Path) -> None:
    (folder / "labels.txt").write_text("".join(f"{label}\n" for label in LABELS), encoding="utf-8", newline="\n")
    (folder / "labels.zh.txt").write_text("".join(f"{label}\n" for label in LABELS_ZH), encoding="utf-8", newline="\n")


def write_golden(folder: Path, picture: Path) -> str:
    """Save the whole picture as `golden/<its name>.jpg`; return the path inside `folder`."""
    path = f"golden/{picture.stem}.jpg"
    save_golden(open_rgb(picture), folder / path, side_max=451, quality=90)
    return path


def write_golden_variants(folder: Path, picture: Path) -> list[str]:
    """Save its crops, mirrors and brightness changes as `golden/*.jpg`; return their paths inside `folder`."""
    paths = []
    for name, variant in variants(open_rgb(picture)).items():
        paths.append(f"golden/{picture.stem}-{name}.jpg")
        save_golden(variant, folder / paths[-1], side_max=300, quality=80)
    return paths


def image_input(size: int, mean: Sequence[float], std: Sequence[float]) -> dict[str, Any]:
    """The `image` of an input: the whole frame stretched to size × size, RGB, planes first."""
    return {
        "width": size,
        "height": size,
        "fit": "stretch",
        "kernel": "bilinear",
        "colour": "rgb",
        "layout": "nchw",
        "scale": 1 / 255,
        "mean": list(mean),
        "std": list(std),
    }


def scores(session: ort.InferenceSession, inputs: np.ndarray) -> np.ndarray:
    """float32 [n, 3, height, width] → float32 [n, classes], each row a softmax."""
    logits = session.run(["logits"], {"image": inputs})[0]
    powers: np.ndarray = np.exp(logits - logits.max(1, keepdims=True))
    return np.asarray(powers / powers.sum(1, keepdims=True))


def open_session(model: Path) -> ort.InferenceSession:
    """One thread, all graph optimisations: as the gateway's runners have it."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    return ort.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])


def write_passport(
    folder: Path,
    *,
    name: str,
    version: int,
    batch_max: int,
    image: dict[str, Any],
    golden: list[str],
    card: dict[str, Any],
) -> None:
    """Write `<folder>/model.json` for the model, labels and golden files that lie in `folder` already."""
    session = open_session(folder / "model.onnx")
    files = ["model.onnx", "labels.txt", "labels.zh.txt", *golden]
    passport = {
        "passport": 1,
        "name": name,
        "version": version,
        "task": "classification",
        "licence": "Apache-2.0",
        "source": f"models/train/{name}",
        "files": [_file(folder, path) for path in files],
        "inputs": [{"tensor": "image", "image": image}],
        "batch_max": batch_max,
        "output": {
            "decoder": "classification",
            "tensors": {"logits": "logits"},
            "activation": "softmax",
            "labels": {"file": "labels.txt", "zh": "labels.zh.txt"},
            "top": 5,
        },
        "golden": [_expectation(folder, path, image, session) for path in golden],
        "card": card,
    }
    text = json.dumps(passport, indent=2, ensure_ascii=False) + "\n"
    (folder / "model.json").write_text(text, encoding="utf-8", newline="\n")


def _file(folder: Path, path: str) -> dict[str, Any]:
    content = (folder / path).read_bytes()
    return {"path": path, "sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}


def _expectation(folder: Path, path: str, image: dict[str, Any], session: ort.InferenceSession) -> dict[str, Any]:
    row = scores(session, prepared([open_rgb(folder / path)], image))[0]
    return {
        "input": path,
        "expect": {"label": LABELS[int(row.argmax())], "score": round(float(row.max()), 3)},
        "tolerance": {"score": SCORE_TOLERANCE},
    }
