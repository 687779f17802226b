"""What a finished model folder is worth: top-1 on packed CIFAR-10 pictures, and its answers to picture files.

python models/train/evaluate.py models/cifar-net/1
python models/train/evaluate.py models/cifar-net/1 --data FOLDER --pack test --split all
python models/train/evaluate.py models/cifar-net/1 --pictures cat.jpg cup.png
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from PIL import Image

import cifar10
from passport import open_session, scores
from pictures import normalised, open_rgb, prepared, resized

REPOSITORY = Path(__file__).resolve().parents[2]
DATA = REPOSITORY.parent / "shared" / "data" / "cifar10"
BATCH = 100


def top1(session: ort.InferenceSession, pictures: cifar10.Pictures, image: dict[str, Any]) -> float:
    """Share of pictures whose highest score is the right label, prepared as the passport says."""
    right = 0
    for start in range(0, len(pictures.labels), BATCH):
        part = pictures.take(np.arange(start, min(start + BATCH, len(pictures.labels))))
        pixels = np.stack([resized(Image.fromarray(pixels), image) for pixels in part.pixels])
        right += int((scores(session, normalised(pixels, image)).argmax(1) == part.labels).sum())
    return right / len(pictures.labels)


def answer(session: ort.InferenceSession, path: Path, image: dict[str, Any]) -> list[tuple[str, float]]:
    """The three highest (label, score) for one picture file."""
    row = scores(session, prepared([open_rgb(path)], image))[0]
    return [(cifar10.LABELS[index], float(row[index])) for index in np.argsort(-row)[:3]]


def chosen_indices(labels: np.ndarray, split: str, split_file: Path | None) -> np.ndarray:
    """Rows to use: those in `split_file` (one number a line), else those of the named split."""
    if split_file is not None:
        return np.loadtxt(split_file, dtype=np.int64, ndmin=1)
    training, validation = cifar10.split(labels)
    return {"training": training, "validation": validation, "all": np.arange(len(labels))}[split]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="folder with model.json and model.onnx")
    parser.add_argument("--data", type=Path, default=DATA, help="packed folder (default: %(default)s)")
    parser.add_argument("--pack", default="train", help="NAME of NAME.jpgs and NAME.idx (default: %(default)s)")
    parser.add_argument("--split", choices=("validation", "training", "all"), default="validation")
    parser.add_argument("--split-file", type=Path, help="file with one row number a line, instead of --split")
    parser.add_argument("--pictures", type=Path, nargs="+", help="picture files to answer, instead of --data")
    arguments = parser.parse_args()

    image = json.loads((arguments.model / "model.json").read_text("utf-8"))["inputs"][0]["image"]
    session = open_session(arguments.model / "model.onnx")
    if arguments.pictures:
        for path in arguments.pictures:
            print(path.name, " ".join(f"{label} {score:.3f}" for label, score in answer(session, path, image)))
        return
    pictures = cifar10.load(arguments.data, arguments.pack)
    pictures = pictures.take(chosen_indices(pictures.labels, arguments.split, arguments.split_file))
    print(f"top-1 {top1(session, pictures, image):.4f} on {len(pictures.labels)} pictures")


if __name__ == "__main__":
    main()
