"""What both recipes share: their command line, and the order of a finished model's files."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

import cifar10
import evaluate
from passport import image_input, open_session
from pictures import normalised, resized
from training import MEAN, STD

REPOSITORY = Path(__file__).resolve().parents[2]
SHARED_DATA = REPOSITORY.parent / "shared" / "data"


@dataclass(frozen=True)
class Arguments:
    data: Path
    picture: Path
    out: Path
    weights: Path
    package_only: bool
    epochs: int
    threads: int
    float32: bool


def arguments(name: str, epochs: int) -> Arguments:
    """Parse the command line of the recipe `name`."""
    parser = argparse.ArgumentParser(description=f"Train {name} and write its model folder.")
    parser.add_argument("--data", type=Path, default=SHARED_DATA / "cifar10", help="packed CIFAR-10 folder")
    parser.add_argument(
        "--picture", type=Path, default=SHARED_DATA / "pictures" / "chelsea.png", help="photograph for the golden tests"
    )
    parser.add_argument("--out", type=Path, default=REPOSITORY / "models" / name / "1", help="model folder to write")
    parser.add_argument(
        "--weights",
        type=Path,
        default=REPOSITORY / "models" / "train" / name / "weights.pt",
        help="where the averaged weights are kept after each epoch",
    )
    parser.add_argument("--package-only", action="store_true", help="do not train: take the weights file as it is")
    parser.add_argument("--epochs", type=int, default=epochs, help="default: %(default)s")
    parser.add_argument("--threads", type=int, default=1, help="default: %(default)s, so that both recipes run at once")
    parser.add_argument(
        "--float32", action="store_true", help="train without bfloat16, for processors that only imitate it"
    )
    return Arguments(**vars(parser.parse_args()))


def inputs(pictures: cifar10.Pictures, size: int) -> np.ndarray:
    """→ float32 [n, 3, size, size], prepared with Pillow as the gateway does it."""
    image = image_input(size, MEAN, STD)
    return normalised(np.stack([resized(Image.fromarray(pixels), image) for pixels in pictures.pixels]), image)


def top1(model: Path, pictures: cifar10.Pictures, size: int) -> float:
    """Share of right answers of an ONNX file, rounded as it is put on the card."""
    return round(evaluate.top1(open_session(model), pictures, image_input(size, MEAN, STD)), 4)
