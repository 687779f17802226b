"""int8 weights for the one layer that weighs something, by onnxruntime's static quantiser (QDQ)."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static

CALIBRATION_BATCH = 50


class Calibration(CalibrationDataReader):
    """Feeds float32 [n, 3, 128, 128] in small batches."""

    def __init__(self, inputs: np.ndarray) -> None:
        self._batches: Iterator[np.ndarray] = iter(
            np.split(inputs, range(CALIBRATION_BATCH, len(inputs), CALIBRATION_BATCH))
        )

    def get_next(self) -> dict[str, np.ndarray] | None:
        batch = next(self._batches, None)
        return None if batch is None else {"image": batch}


def quantise(source: Path, target: Path, calibration: np.ndarray) -> None:
    """Quantise the first Gemm alone: a convolution of three channels is slower in int8, the last layer is tiny.

    Inputs of the layer are rectified, so unsigned; weights have 7 bits per channel, so that processors without
    VNNI (whose 16-bit sums would saturate) give the same answers.
    """
    model = onnx.load(source)
    big = next(node for node in model.graph.node if node.op_type == "Gemm")
    with tempfile.TemporaryDirectory() as folder:
        working = Path(folder) / "float.onnx"
        onnx.save(model, working)
        quantize_static(
            working,
            target,
            Calibration(calibration),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["Gemm"],
            nodes_to_quantize=[big.name],
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
            reduce_range=True,
            calibrate_method=CalibrationMethod.MinMax,
        )
    onnx.checker.check_model(onnx.load(target), full_check=True)
