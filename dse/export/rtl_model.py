"""Is a layer's datapath what was measured? Its exact sums and codes beside those of the quantized network, on all pixels.

The network adds in float32 and the datapath exactly, so outputs differ in their last bits, by at most

    gamma_(n+4) |x|.|w| + |x|.|error of a scale|,    gamma_n = n u / (1 - n u), u = 2^-24

with n terms in a sum (N. Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., eq. 3.5; four more roundings: of
the input, the weight, the bias, and the output). The second term is what scales lose that hardware holds in fewer bits than
float32 (a 16-bit mantissa per group); it is zero for all others. An output whose exact value lies so close to the border
between two codes may fall on the other side: these are counted as ties, and nothing else may differ.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dse.export.rtl_design import Integers, LayerDesign

if TYPE_CHECKING:
    from workloads.layer_tensors import LayerTensors

UNIT_ROUNDOFF = 2.0**-24


@dataclass(frozen=True)
class ModelCheck:
    """How a datapath compares with the network.

    Attributes:
        outputs: compared.
        outside: outputs that differ by more than rounding explains.
        largest_share: the largest difference as a share of what rounding explains.
        codes: compared, 0 without a requantizer.
        ties: codes that differ because the output lies on a rounding tie.
        first_difference: in words, or None.
    """

    outputs: int
    outside: int
    largest_share: float
    codes: int
    ties: int
    first_difference: str | None

    @property
    def equal(self) -> bool:
        """Nothing differs but ties."""
        return self.outside == 0


def compare_with_model(design: LayerDesign, tensors: LayerTensors, sums: Integers) -> ModelCheck:
    """Compare the exact sums (vectors, rows) of a layer with what the network computed."""
    exact = design.exact(sums) + tensors.bias
    difference, bound = np.abs(tensors.outputs - exact), _bound(design, tensors)
    outside = difference > bound
    codes = ties = 0
    behind = tensors.requantized
    if design.unit.requantizer is not None and behind is not None:
        made = behind.apply(design.outputs(sums, tensors.bias))
        codes, ties = made.size, int((made != behind.values).sum())
    first = None
    if outside.any():
        vector, row = (int(i) for i in np.argwhere(outside)[0])
        first = (
            f"{design.result.name}, vector {vector}, row {row}: the datapath gives {exact[vector, row]:.6g}, the network "
            f"{tensors.outputs[vector, row]:.6g}"
        )
    share = float((difference / np.maximum(bound, np.finfo(np.float32).tiny)).max(initial=0.0))
    return ModelCheck(exact.size, int(outside.sum()), share, codes, ties, first)


def _bound(design: LayerDesign, tensors: LayerTensors) -> NDArray[np.float64]:
    """What rounding explains of each output, (vectors, rows)."""
    terms = design.unit.cols + 5
    gamma = terms * UNIT_ROUNDOFF / (1 - terms * UNIT_ROUNDOFF)
    inputs = np.abs((tensors.inputs - design.zero_point).astype(np.float64))
    codes = np.abs(design.result.codes.astype(np.float64))
    scale = np.repeat(design.result.scale, codes.shape[1] // design.result.scale.shape[1], axis=1).astype(np.float64)
    both = codes * (gamma * scale + design.scale_errors) * design.product_step
    total = np.einsum("vrc,rc->vr", inputs, both) if design.unit.depthwise else inputs @ both.T
    return np.asarray(total + gamma * np.abs(tensors.bias), dtype=np.float64)
