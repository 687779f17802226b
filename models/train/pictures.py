"""From picture files to tensors as a passport's `image` says, with Pillow; and the pictures of the golden tests.

The gateway does the same with libvips. The kernels of both widen when they shrink a picture (anti-aliasing).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

KERNELS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "cubic": Image.Resampling.BICUBIC,
    "lanczos3": Image.Resampling.LANCZOS,
}


def open_rgb(path: Path) -> Image.Image:
    return Image.open(path).convert("RGB")


def resized(picture: Image.Image, image: dict[str, Any]) -> np.ndarray:
    """→ uint8 [height, width, 3]: the whole frame stretched to the passport's size."""
    if (image["fit"], image["colour"], image["layout"]) != ("stretch", "rgb", "nchw"):
        raise ValueError(f"not one of our recipes' inputs: {image}")
    size = (image["width"], image["height"])
    return np.asarray(picture.resize(size, KERNELS[image["kernel"]]))


def normalised(pixels: np.ndarray, image: dict[str, Any]) -> np.ndarray:
    """uint8 [n, height, width, 3] → float32 [n, 3, height, width], (x · scale − mean) / std."""
    mean, std = np.asarray(image["mean"], np.float32), np.asarray(image["std"], np.float32)
    values = (pixels.astype(np.float32) * np.float32(image["scale"]) - mean) / std
    return np.ascontiguousarray(values.transpose(0, 3, 1, 2))


def prepared(pictures: list[Image.Image], image: dict[str, Any]) -> np.ndarray:
    """→ float32 [n, 3, height, width], ready for the model."""
    return normalised(np.stack([resized(picture, image) for picture in pictures]), image)


def variants(picture: Image.Image) -> dict[str, Image.Image]:
    """Twelve crops, mirrors and brightness changes of one picture, by name."""

    def crop(left: float, top: float, right: float, bottom: float) -> Image.Image:
        width, height = picture.size
        return picture.crop((round(left * width), round(top * height), round(right * width), round(bottom * height)))

    def light(source: Image.Image, factor: float) -> Image.Image:
        return ImageEnhance.Brightness(source).enhance(factor)

    middle = crop(0.1, 0.1, 0.9, 0.9)
    return {
        "mirror": ImageOps.mirror(picture),
        "crop-left": crop(0, 0, 0.8, 1),
        "crop-right": crop(0.15, 0, 1, 1),
        "crop-top": crop(0, 0, 1, 0.8),
        "crop-bottom": crop(0, 0.2, 1, 1),
        "crop-middle": middle,
        "crop-close": crop(0.2, 0.1, 0.8, 0.9),
        "dark": light(picture, 0.6),
        "darker": light(picture, 0.4),
        "bright": light(picture, 1.4),
        "mirror-crop-dark": light(ImageOps.mirror(middle), 0.7),
        "mirror-crop-bright": light(ImageOps.mirror(crop(0, 0, 0.8, 1)), 1.3),
    }


def save_golden(picture: Image.Image, path: Path, side_max: int, quality: int) -> None:
    """Save as JPEG, shrunk so that the longer side has at most `side_max` pixels."""
    copy = picture.copy()
    copy.thumbnail((side_max, side_max), Image.Resampling.LANCZOS)
    path.parent.mkdir(parents=True, exist_ok=True)
    copy.save(path, "JPEG", quality=quality, optimize=True)
