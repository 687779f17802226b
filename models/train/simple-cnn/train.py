"""Train SimpleCNN, quantise its big layer, write models/simple-cnn/1.

python models/train/simple-cnn/train.py
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import cifar10
import export
import passport
import recipe
from augment import Augmentation, augment
from network import SIZE, SimpleCnn
from quantise import quantise
from temperature import temper
from training import MEAN, STD, Settings, normalise, seed_everything, to_tensor, train

NAME = "simple-cnn"
EPOCHS = 22
PLAN = Augmentation(
    strong_share_first=0.3,
    strong_share_last=0.1,
    zoom_in_max=1.3,
    zoom_out_max=1.15,
    aspect_max=1.25,
    rotation_deg_max=8,
    erase_share=0.1,
    nearest_share=0.2,
)
"""Milder than for a deeper network: one layer of 3 x 3 and a fully connected one cannot learn so many views."""
WEIGHT_DECAY = 5e-4
DROP_HIDDEN = 0.1
CALIBRATION_PICTURES = 1000
BATCH_MAX = 16


def optimiser(network: nn.Module, rate: float) -> torch.optim.Optimizer:
    return torch.optim.SGD(network.parameters(), rate, momentum=0.9, nesterov=True, weight_decay=WEIGHT_DECAY)


def calibration(training: cifar10.Pictures) -> np.ndarray:
    """Half plain, half augmented training pictures → float32 [n, 3, 128, 128]."""
    half = CALIBRATION_PICTURES // 2
    plain = recipe.inputs(training.take(np.arange(half)), SIZE)
    pixels = to_tensor(training.pixels[half : 2 * half])
    return np.concatenate([plain, normalise(augment(pixels, SIZE, PLAN, progress=0.5)).contiguous().numpy()])


def package(
    network: SimpleCnn, training: cifar10.Pictures, validation: cifar10.Pictures, picture: Path, out: Path
) -> None:
    """Export, quantise, check, measure, and write the model folder."""
    temperature = temper(network, network.fc2, validation, SIZE)
    with tempfile.TemporaryDirectory() as folder:
        full = Path(folder) / "float.onnx"
        export.export(network, full, SIZE)
        out.mkdir(parents=True, exist_ok=True)
        quantise(full, out / "model.onnx", calibration(training))
        export.check(out / "model.onnx", SIZE)
        metrics = {
            "top1_fp32": recipe.top1(full, validation, SIZE),
            "top1_int8": recipe.top1(out / "model.onnx", validation, SIZE),
            "validation_pictures": len(validation.labels),
            "temperature": temperature,
        }
    print(metrics)
    passport.write_labels(out)
    passport.write_passport(
        out,
        name=NAME,
        version=1,
        batch_max=BATCH_MAX,
        image=passport.image_input(SIZE, MEAN, STD),
        golden=[passport.write_golden(out, picture)],
        card={
            "data": passport.DATA,
            "metrics": metrics,
            "limits": "a teaching model: one 3x3 layer sees little; answers one of its ten classes to every picture",
        },
    )


def main() -> None:
    arguments = recipe.arguments(NAME, EPOCHS)
    settings = Settings(
        size=SIZE,
        epochs=arguments.epochs,
        batch=128,
        learning_rate=0.01,
        label_smoothing=0.1,
        average_decay=0.998,
        threads=arguments.threads,
        bfloat16=not arguments.float32,
    )
    seed_everything(settings)
    pictures = cifar10.load(arguments.data)
    training, validation = (pictures.take(indices) for indices in cifar10.split(pictures.labels))
    network = SimpleCnn(DROP_HIDDEN)
    if not arguments.package_only:
        train(
            network, optimiser(network, settings.learning_rate), training, validation, PLAN, settings, arguments.weights
        )
    network.load_state_dict(torch.load(arguments.weights))
    seed_everything(settings)
    package(network, training, validation, arguments.picture, arguments.out)


if __name__ == "__main__":
    main()
