"""One training loop for both recipes: augmented batches, bfloat16, a warm-up and cosine schedule, averaged weights."""

from __future__ import annotations

import copy
import math
import random
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from augment import Augmentation, augment
from cifar10 import Pictures

MEAN = (0.4914, 0.4822, 0.4465)
STD = (0.247, 0.2435, 0.2616)


@dataclass(frozen=True)
class Settings:
    """`average_decay` is per optimiser step; `warmup_share` is of all steps."""

    size: int
    epochs: int
    batch: int
    learning_rate: float
    label_smoothing: float
    average_decay: float
    warmup_share: float = 0.1
    seed: int = 1
    threads: int = 1
    bfloat16: bool = True


def seed_everything(settings: Settings) -> None:
    """Same seed, same number of threads, same kind of processor: same weights."""
    random.seed(settings.seed)
    np.random.seed(settings.seed)
    torch.manual_seed(settings.seed)
    torch.set_num_threads(settings.threads)


def to_tensor(pixels: np.ndarray) -> Tensor:
    """uint8 [n, 32, 32, 3] → uint8 [n, 3, 32, 32]."""
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()


def normalise(pictures: Tensor) -> Tensor:
    """float32 [n, 3, h, w], 0..1 → (x − MEAN) / STD of each channel."""
    mean = torch.tensor(MEAN).view(1, 3, 1, 1)
    std = torch.tensor(STD).view(1, 3, 1, 1)
    return (pictures - mean) / std


def train(
    network: nn.Module,
    optimiser: torch.optim.Optimizer,
    training: Pictures,
    validation: Pictures,
    plan: Augmentation,
    settings: Settings,
    checkpoint: Path,
) -> None:
    """Train on `training`, print the validation accuracy of each epoch, keep the averaged weights in `checkpoint`.

    What the last epoch leaves there is the result, whatever the validation says, so that its figure stays honest.
    """
    network = network.to(memory_format=torch.channels_last)
    average = copy.deepcopy(network).eval()
    pixels, labels = to_tensor(training.pixels), torch.from_numpy(training.labels)
    steps_per_epoch = len(pixels) // settings.batch
    steps = steps_per_epoch * settings.epochs
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _rate(step, steps, settings.warmup_share))
    for epoch in range(settings.epochs):
        started, total = time.monotonic(), 0.0
        network.train()
        for indices in torch.randperm(len(pixels))[: steps_per_epoch * settings.batch].split(settings.batch):
            pictures = normalise(augment(pixels[indices], settings.size, plan, epoch / settings.epochs))
            optimiser.zero_grad()
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=settings.bfloat16):
                logits = network(pictures)
            loss = F.cross_entropy(logits.float(), labels[indices], label_smoothing=settings.label_smoothing)
            loss.backward()
            optimiser.step()
            schedule.step()
            _update_average(average, network, min(settings.average_decay, 1 - 1 / (schedule.last_epoch + 1)))
            total += loss.item()
        print(
            f"epoch {epoch + 1}/{settings.epochs} loss {total / steps_per_epoch:.3f} "
            f"validation {accuracy(average, validation, settings.size):.4f} {time.monotonic() - started:.0f} s",
            flush=True,
        )
        torch.save(average.state_dict(), checkpoint)


def accuracy(network: nn.Module, pictures: Pictures, size: int) -> float:
    """Share of pictures whose first answer is right; enlarged bilinearly, in bfloat16 (a running figure only)."""
    right = 0
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        for start in range(0, len(pictures.labels), 250):
            batch = to_tensor(pictures.pixels[start : start + 250]).float() / 255
            batch = F.interpolate(batch, size=(size, size), mode="bilinear", align_corners=False)
            batch = normalise(batch).contiguous(memory_format=torch.channels_last)
            labels = torch.from_numpy(pictures.labels[start : start + 250])
            right += int((network(batch).argmax(1) == labels).sum())
    return right / len(pictures.labels)


def _rate(step: int, steps: int, warmup_share: float) -> float:
    """Share of the highest learning rate: linear up, then a half cosine down to 0."""
    warmup = max(1, int(steps * warmup_share))
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


@torch.no_grad()
def _update_average(average: nn.Module, network: nn.Module, decay: float) -> None:
    for mean, value in zip(average.state_dict().values(), network.state_dict().values(), strict=True):
        if mean.dtype.is_floating_point:
            mean.lerp_(value, 1 - decay)
        else:
            mean.copy_(value)
