"""Single layers in Brevitas' own modules, rounded by Brevitas' own classes: what our rounding is compared with."""

from __future__ import annotations

import contextlib
import warnings

import torch
from torch import Tensor

from hwmodels.formats import ElementFormat, IntFormat
from workloads.quantizers import FrozenScale, qnn, weight_quantizer

with warnings.catch_warnings():
    warnings.simplefilter(
        "ignore", DeprecationWarning
    )  # importing brevitas touches deprecated corners of torch and itself
    warnings.filterwarnings("ignore", message="fast_hadamard_transform")  # an optional kernel, not used
    from brevitas.graph.gpfq import GPFQ
    from brevitas.graph.gptq import GPTQ
    from brevitas.graph.gpxq import LayerHandler
    from brevitas.graph.magr import MagR
    from brevitas.graph.qronos import Qronos
    from brevitas.inject.enum import LearnedRoundImplType
    from brevitas.utils.torch_utils import StopFwdException
    from brevitas_examples.common.axe import A2GPFQ, A2GPTQ
    from brevitas_examples.common.learned_round import learned_round_method

__all__ = [
    "A2GPFQ",
    "A2GPTQ",
    "GPFQ",
    "GPTQ",
    "Qronos",
    "correlated",
    "learned_round",
    "linear",
    "magr",
    "run_brevitas",
    "run_brevitas_pairs",
    "train_learned_round",
]


class SlicedScale(FrozenScale):
    """A scale of every weight, cut to the column that Brevitas' GPTQ asks for."""

    subtensor_slice_list = (None,)  # set and reset by QuantWeightMixin.quant_weight

    def forward(self, placeholder: Tensor, threshold: Tensor | None = None) -> Tensor:
        if list(self.subtensor_slice_list) == [None]:
            return self.value
        return self.value[tuple(slice(None) if cut is None else slice(*cut) for cut in self.subtensor_slice_list)]


def linear(weight: Tensor, scale: Tensor, fmt: ElementFormat) -> qnn.QuantLinear:
    quantizer = weight_quantizer(fmt, scale.expand_as(weight).clone()).let(scaling_impl=SlicedScale)
    layer = qnn.QuantLinear(weight.shape[1], weight.shape[0], bias=False, weight_quant=quantizer).eval()
    layer.weight.data = weight.clone()
    return layer


def correlated(rows: int, cols: int, samples: int) -> tuple[Tensor, list[Tensor]]:
    """Weights, and correlated non-negative inputs in three batches; one input is always zero."""
    random = torch.Generator().manual_seed(rows + cols)
    mixing = torch.randn(cols, cols, generator=random) * torch.linspace(0.1, 3, cols)
    inputs = (torch.randn(samples, cols, generator=random) @ mixing).relu()
    inputs[:, 3] = 0.0
    return torch.randn(rows, cols, generator=random), list(inputs.split([samples // 2, samples // 3, samples // 6]))


class _Metadata:
    def __init__(self, fmt: IntFormat) -> None:
        self.bit_width, self.signed = torch.tensor(float(fmt.bits)), fmt.signed


def run_brevitas(kind, layer, batches, activation=None, **limits) -> None:  # type: ignore[no-untyped-def]
    optimizer = kind(
        layer=layer,
        name="layer",
        act_order=True,
        len_parallel_layers=1,
        create_weight_orig=False,
        num_blocks=100,
        **limits,
    )
    if activation is not None:
        optimizer.quant_metadata = _Metadata(activation)
    with torch.no_grad():
        for batch in batches:
            optimizer.compute_iterative_covariance(layer, batch, LayerHandler())
        optimizer.single_layer_update()


def run_brevitas_pairs(kind, layer, quantized, floats, activation=None, **options) -> None:  # type: ignore[no-untyped-def]
    """As `gpfq_mode` runs a layer: each batch of quantized inputs, then of the float network's."""
    optimizer = kind(
        layer=layer, name="layer", act_order=True, len_parallel_layers=1, create_weight_orig=True, **options
    )
    if activation is not None:
        optimizer.quant_metadata = _Metadata(activation)
    with torch.no_grad():
        for pair in zip(quantized, floats, strict=True):
            for disabled, batch in zip((False, True), pair, strict=True):
                layer.weight_quant.disable_quant = disabled
                with contextlib.suppress(StopFwdException):
                    optimizer.update_batch(layer, (batch,), LayerHandler())
        layer.weight_quant.disable_quant = False
        optimizer.single_layer_update()


def learned_round(layer):  # type: ignore[no-untyped-def]
    """Give a layer's quantizer Brevitas' learned rounding, which is returned."""
    stretch = {"learned_round_zeta": 1.1, "learned_round_gamma": -0.1}
    learned_round_method.insert_learned_round_quantizers(layer, LearnedRoundImplType.HARD_SIGMOID, **stretch)
    (found,) = learned_round_method.return_learned_round_quantizers(layer)
    return found


def train_learned_round(layer, quantized, target, *, unit, steps, rate) -> None:  # type: ignore[no-untyped-def]
    """Brevitas' losses and parameters on whole batches, in units of `unit`, and torch's Adam; then `layer` rounds as learned."""
    rounding = learned_round(layer).train()
    layer.train()
    options = {"weight": 1.0, "max_count": steps, "b_range": (20, 2), "warmup": 0.2}
    regularizer = learned_round_method.RoundRegularisationLoss(layer, **options)
    error = learned_round_method.MSELoss(layer, reduction="none", dim=1)
    adam = torch.optim.Adam([rounding.value], lr=rate)
    for _ in range(steps):
        adam.zero_grad()
        output = layer(quantized)
        (error(output, target) / unit + regularizer(output, target)).backward()
        adam.step()
    layer.eval()


def magr(layer, batches, alpha) -> None:  # type: ignore[no-untyped-def]
    """Brevitas' MagR on a layer, in place."""
    options = {"len_parallel_layers": 1, "create_weight_orig": True, "gradient_steps": 200, "alpha": alpha}
    optimizer = MagR(layer=layer, name="layer", **options)
    with torch.no_grad():
        for batch in batches:
            optimizer.compute_iterative_covariance(layer, (batch,), LayerHandler())
        optimizer.single_layer_update()
