"""The packed CIFAR-10 pictures and the split into training and validation parts.

A packed folder holds `<pack>.jpgs` (all JPEG files, concatenated) and `<pack>.idx`
(10-byte little-endian records: u32 offset, u16 length, u8 label, u8 0, u16 file number).
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

LABELS = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
LABELS_ZH = ("飞机", "汽车", "鸟", "猫", "鹿", "狗", "青蛙", "马", "船", "卡车")

SPLIT_SEED = 20260
VALIDATION_PER_CLASS = 500

_RECORD = np.dtype([("offset", "<u4"), ("length", "<u2"), ("label", "u1"), ("zero", "u1"), ("number", "<u2")])


@dataclass(frozen=True)
class Pictures:
    """`pixels`: uint8 [n, 32, 32, 3], RGB. `labels`: int64 [n], positions in LABELS."""

    pixels: np.ndarray
    labels: np.ndarray

    def take(self, indices: np.ndarray) -> Pictures:
        return Pictures(self.pixels[indices], self.labels[indices])


def load(folder: Path, pack: str = "train") -> Pictures:
    """Decode every picture of `<folder>/<pack>.jpgs`, in the order of the index."""
    records = np.fromfile(folder / f"{pack}.idx", dtype=_RECORD)
    blob = (folder / f"{pack}.jpgs").read_bytes()
    pixels = np.empty((len(records), 32, 32, 3), dtype=np.uint8)
    for row, (offset, length) in enumerate(records[["offset", "length"]].tolist()):
        pixels[row] = np.asarray(Image.open(io.BytesIO(blob[offset : offset + length])).convert("RGB"))
    return Pictures(pixels, records["label"].astype(np.int64))


def split(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(training, validation) indices: 500 validation pictures of each class, the same at every call."""
    random = np.random.default_rng(SPLIT_SEED)
    chosen = [
        random.permutation(np.flatnonzero(labels == label))[:VALIDATION_PER_CLASS] for label in range(len(LABELS))
    ]
    validation = np.sort(np.concatenate(chosen))
    return np.setdiff1d(np.arange(len(labels)), validation), validation
