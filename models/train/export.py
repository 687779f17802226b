"""From PyTorch to ONNX, and what every exported file is held to."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import torch
from torch import nn

OPSET = 17
IR_VERSION = 8


def export(network: nn.Module, path: Path, size: int) -> None:
    """Write `image` float32 [batch, 3, size, size] → `logits` float32 [batch, 10], weights inside the file."""
    network = network.eval().to(memory_format=torch.contiguous_format)
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.onnx.export(
        network,
        (torch.zeros(1, 3, size, size),),
        str(path),
        input_names=["image"],
        output_names=["logits"],
        dynamic_axes={"image": {0: "batch"}, "logits": {0: "batch"}},
        opset_version=OPSET,
        dynamo=False,
    )
    model = onnx.load(path)
    model.ir_version = IR_VERSION
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


def check(path: Path, size: int) -> None:
    """Raise unless the file holds its weights, folds them, and answers each picture alone."""
    model = onnx.load(path, load_external_data=False)
    if any(tensor.external_data for tensor in model.graph.initializer):
        raise AssertionError(f"{path}: weights outside the file")
    _check_no_weight_is_dequantised(path)
    _check_batch_mates(path, size)


def _check_no_weight_is_dequantised(path: Path) -> None:
    """A DequantizeLinear on a weight runs at every call: the int8 file would be slower than the float one."""
    with tempfile.TemporaryDirectory() as folder:
        optimised = Path(folder) / "optimised.onnx"
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.optimized_model_filepath = str(optimised)
        ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        graph = onnx.load(optimised).graph
    weights = {tensor.name for tensor in graph.initializer}
    left = [node.name for node in graph.node if node.op_type == "DequantizeLinear" and node.input[0] in weights]
    if left:
        raise AssertionError(f"{path}: weights are dequantised at every call by {left}")


def _check_batch_mates(path: Path, size: int) -> None:
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    pictures = np.random.default_rng(1).standard_normal((9, 3, size, size), dtype=np.float32)
    pictures[1:] *= np.float32(5)
    together = session.run(["logits"], {"image": pictures})[0]
    alone = np.concatenate([session.run(["logits"], {"image": pictures[row : row + 1]})[0] for row in range(9)])
    difference = float(np.abs(together - alone).max() / np.abs(alone).max())
    if difference > 1e-6:
        raise AssertionError(f"{path}: a picture's answer depends on its batch-mates, by {difference:g} of the largest")
