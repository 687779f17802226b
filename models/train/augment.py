"""Augmentation of whole batches of 32-pixel pictures, on tensors.

Cameras do not send enlarged 32-pixel pictures: theirs are sharper, framed closer or wider, and lit
otherwise. So a part of every batch is changed strongly (zoom, aspect, rotation, sharpness, colour,
erased patches), the rest only shifted and mirrored, which keeps the small pictures easy.
Randomness comes from torch's global generator: seed it once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Augmentation:
    """How far pictures are changed. Shares are 0..1, factors are of the picture's own size or value.

    The share of strongly changed pictures goes from that of the first epoch to that of the last.
    """

    strong_share_first: float = 0.5
    strong_share_last: float = 0.5
    shift: float = 0.125
    zoom_in_max: float = 1.8
    zoom_out_max: float = 1.3
    aspect_max: float = 1.5
    rotation_deg_max: float = 12.0
    blur_max: float = 0.8
    sharpen_max: float = 1.2
    gain_max: float = 1.4
    cast_max: float = 1.15
    contrast_max: float = 1.35
    grey_share: float = 0.05
    noise_max: float = 0.04
    erase_share: float = 0.3
    nearest_share: float = 0.0


def augment(pixels: Tensor, size: int, plan: Augmentation, progress: float) -> Tensor:
    """uint8 [n, 3, 32, 32] → float32 [n, 3, size, size], 0..1, channels last in memory.

    `progress`: how far training has come, 0..1.
    """
    pictures = pixels.float().div_(255)
    share = plan.strong_share_first + progress * (plan.strong_share_last - plan.strong_share_first)
    strong = torch.rand(len(pictures)) < share
    pictures = _sharpness(pictures, strong, plan)
    pictures = _colour(pictures, strong, plan)
    pictures = _warp(pictures, strong, size, plan)
    pictures = _noise(pictures, strong, plan)
    pictures = _erase(pictures, strong, plan)
    return pictures.clamp_(0, 1).contiguous(memory_format=torch.channels_last)


def _uniform(count: int, low: float, high: float) -> Tensor:
    return torch.rand(count).mul_(high - low).add_(low)


def _log_uniform(count: int, low: float, high: float) -> Tensor:
    return _uniform(count, math.log(low), math.log(high)).exp_()


def _per_picture(values: Tensor) -> Tensor:
    return values.view(-1, 1, 1, 1)


def _sharpness(pictures: Tensor, strong: Tensor, plan: Augmentation) -> Tensor:
    """Unsharp mask: a negative amount blurs, a positive one sharpens."""
    amount = _uniform(len(pictures), -plan.blur_max, plan.sharpen_max) * strong
    smooth = F.avg_pool2d(pictures, 3, stride=1, padding=1, count_include_pad=False)
    return (pictures + _per_picture(amount) * (pictures - smooth)).clamp_(0, 1)


def _colour(pictures: Tensor, strong: Tensor, plan: Augmentation) -> Tensor:
    """Brightness, white balance, contrast and saturation."""
    count = len(pictures)
    grey = pictures.mean(1, keepdim=True)
    saturation = _uniform(count, 0.5, 1.4) * (torch.rand(count) >= plan.grey_share)
    saturation = torch.where(strong, saturation, torch.ones(count))
    pictures = grey + _per_picture(saturation) * (pictures - grey)
    contrast = torch.where(strong, _log_uniform(count, 1 / plan.contrast_max, plan.contrast_max), torch.ones(count))
    middle = pictures.mean((1, 2, 3), keepdim=True)
    pictures = middle + _per_picture(contrast) * (pictures - middle)
    gain = _log_uniform(count, 1 / plan.gain_max, plan.gain_max).view(-1, 1)
    cast = _log_uniform(count * 3, 1 / plan.cast_max, plan.cast_max).view(-1, 3)
    factor = torch.where(strong.view(-1, 1), gain * cast, torch.ones(count, 3))
    return (pictures * factor.view(count, 3, 1, 1)).clamp_(0, 1)


def _warp(pictures: Tensor, strong: Tensor, size: int, plan: Augmentation) -> Tensor:
    """Mirror, shift, zoom, stretch and rotate in one resampling to size × size."""
    count = len(pictures)
    one = torch.ones(count)
    zoom = torch.where(strong, _log_uniform(count, 1 / plan.zoom_in_max, plan.zoom_out_max), one)
    aspect = torch.where(strong, _log_uniform(count, 1 / plan.aspect_max, plan.aspect_max), one).sqrt_()
    angle = _uniform(count, -1, 1) * math.radians(plan.rotation_deg_max) * strong
    mirror = torch.where(torch.rand(count) < 0.5, -one, one)
    room = 2 * (plan.shift + (1 - zoom).clamp_(min=0) / 2).view(-1, 1)
    offset = _uniform(count * 2, -1, 1).view(-1, 2) * room
    cos, sin = angle.cos() * zoom, angle.sin() * zoom
    matrix = torch.stack(
        [cos * aspect * mirror, -sin / aspect, offset[:, 0], sin * aspect * mirror, cos / aspect, offset[:, 1]], 1
    ).view(count, 2, 3)
    grid = F.affine_grid(matrix, [count, 3, size, size], align_corners=False)
    mode = "nearest" if torch.rand(()) < plan.nearest_share else "bilinear"
    return F.grid_sample(pictures, grid, mode=mode, padding_mode="reflection", align_corners=False)


def _noise(pictures: Tensor, strong: Tensor, plan: Augmentation) -> Tensor:
    """One noise pattern for the batch, in amounts of each picture's own (cheaper than a pattern each)."""
    amount = _per_picture(_uniform(len(pictures), -plan.noise_max, plan.noise_max) * strong)
    return pictures.addcmul_(torch.randn(pictures.shape[1:]).unsqueeze(0), amount)


def _erase(pictures: Tensor, strong: Tensor, plan: Augmentation) -> Tensor:
    """Cover a square of a quarter to a half of the side with one colour."""
    count, _, size, _ = pictures.shape
    chosen = strong & (torch.rand(count) < plan.erase_share)
    side = _uniform(count, 0.25, 0.5) * size
    centre = torch.rand(count, 2) * size
    at = torch.arange(size).view(1, -1)
    rows = (at - centre[:, :1]).abs() < side.view(-1, 1) / 2
    columns = (at - centre[:, 1:]).abs() < side.view(-1, 1) / 2
    covered = (rows[:, :, None] & columns[:, None, :] & chosen.view(-1, 1, 1)).unsqueeze(1)
    return torch.where(covered, torch.rand(count, 3, 1, 1), pictures)
