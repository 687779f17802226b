"""Train CifarNet and write models/cifar-net/1.

python models/train/cifar-net/train.py
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import cifar10
import export
import passport
import recipe
from augment import Augmentation
from network import SIZE, CifarNet, fold
from temperature import temper
from training import MEAN, STD, Settings, seed_everything, train

NAME = "cifar-net"
EPOCHS = 24
PLAN = Augmentation()
WEIGHT_DECAY = 5e-4
BATCH_MAX = 8


def optimiser(network: nn.Module, rate: float) -> torch.optim.Optimizer:
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    return torch.optim.SGD(parameters, rate, momentum=0.9, nesterov=True, weight_decay=WEIGHT_DECAY)


def package(network: CifarNet, validation: cifar10.Pictures, picture: Path, out: Path) -> None:
    """Export, check, measure, and write the model folder."""
    model = out / "model.onnx"
    temperature = temper(network, network.head, validation, SIZE)
    export.export(fold(network.eval()), model, SIZE)
    export.check(model, SIZE)
    metrics = {
        "top1_fp32": recipe.top1(model, validation, SIZE),
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
        golden=[passport.write_golden(out, picture), *passport.write_golden_variants(out, picture)],
        card={
            "data": passport.DATA,
            "metrics": metrics,
            "limits": "answers one of its ten classes to every picture; sees the whole frame in 32 x 32 pixels",
        },
    )


def main() -> None:
    arguments = recipe.arguments(NAME, EPOCHS)
    settings = Settings(
        size=SIZE,
        epochs=arguments.epochs,
        batch=256,
        learning_rate=0.2,
        label_smoothing=0.1,
        average_decay=0.998,
        threads=arguments.threads,
        bfloat16=not arguments.float32,
    )
    seed_everything(settings)
    pictures = cifar10.load(arguments.data)
    training, validation = (pictures.take(indices) for indices in cifar10.split(pictures.labels))
    network = CifarNet()
    if not arguments.package_only:
        train(
            network, optimiser(network, settings.learning_rate), training, validation, PLAN, settings, arguments.weights
        )
    network.load_state_dict(torch.load(arguments.weights))
    package(network, validation, arguments.picture, arguments.out)


if __name__ == "__main__":
    main()
