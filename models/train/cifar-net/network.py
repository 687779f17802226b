"""CifarNet: a compact residual network for pictures of 32 × 32 pixels."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

WIDTHS = (32, 48, 112, 160)
SIZE = 32


class Unit(nn.Module):
    """Convolution 3 × 3 → (max pool 2) → normalisation → ReLU.

    The normalisation has no scale of its own, so it never turns a maximum into a minimum: it may be
    folded into the convolution that stands before the pool.
    """

    def __init__(self, inputs: int, outputs: int, pool: bool = False) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.pool = nn.MaxPool2d(2) if pool else nn.Identity()
        self.norm: nn.Module = nn.BatchNorm2d(outputs)
        self.norm.weight.requires_grad_(False)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.norm(self.pool(self.conv(x))))


class Stage(nn.Module):
    """A unit that halves the side, then two units around which the input passes unchanged."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.down = Unit(inputs, outputs, pool=True)
        self.body = nn.Sequential(Unit(outputs, outputs), Unit(outputs, outputs))

    def forward(self, x: Tensor) -> Tensor:
        x = self.down(x)
        return x + self.body(x)


class CifarNet(nn.Module):
    """float32 [n, 3, 32, 32] → logits [n, 10]."""

    def __init__(self, widths: tuple[int, int, int, int] = WIDTHS) -> None:
        super().__init__()
        self.stem = Unit(3, widths[0])
        self.stages = nn.Sequential(*(Stage(a, b) for a, b in pairwise(widths)))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(widths[-1], 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.flatten(self.pool(self.stages(self.stem(x))), 1))


def fold(network: CifarNet) -> CifarNet:
    """Fold every normalisation into its convolution, in place; for inference only."""
    for unit in network.modules():
        if isinstance(unit, Unit):
            unit.conv, unit.norm = fuse_conv_bn_eval(unit.conv, unit.norm), nn.Identity()
    return network
