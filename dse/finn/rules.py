"""What FINN accepts, rule by rule: what must hold, how a graph is checked for it, and the mend.

Sources: FINN v0.10.1 and finn-plus 1.6.1, `transformation/qonnx/` (`qonnx_activation_handlers.py`, `fold_quant_weights.py`),
`transformation/streamline/` and `transformation/fpgadataflow/convert_to_hw/`. Where the two differ, the stricter one counts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from dse.finn import graph_checks as graph
from dse.finn import quantizer_checks as quantizers
from dse.finn.view import Found, View


@dataclass(frozen=True)
class Rule:
    """One condition.

    Attributes:
        name: short, for tables and JSON.
        must: what must hold, as a sentence with its subject.
        mend: what to do where it does not.
        check: what breaks it in a graph.
        advice: FINN works without it, at a cost that `must` names.
    """

    name: str
    must: str
    mend: str
    check: Callable[[View], Found]
    advice: bool = False


RULES: tuple[Rule, ...] = (
    Rule("operators", "every operator must be one that FINN maps", f"use {', '.join(graph.MAPPED)}", graph.operators),
    Rule(
        "constant-operand",
        "a product must have a constant operand",
        "keep attention off the dataflow accelerator",
        graph.one_constant,
    ),
    Rule(
        "quant-nodes",
        "quantizers must be QONNX Quant nodes",
        "convert the file by qonnx's QCDQToQuant, or export the point with --to finn",
        graph.codes,
    ),
    Rule(
        "integers",
        "numbers must be integers, which minifloats are not",
        "choose an integer format for it, or take the point elsewhere with --to qonnx",
        quantizers.minifloats,
    ),
    Rule(
        "constant-scales",
        "scales, zero points and widths must be constants of the file",
        "use static scales (activation_scaling: tensor), and fold constants",
        quantizers.constant_parameters,
    ),
    Rule(
        "zero-points",
        "zero points must be 0",
        "quantize symmetrically, or unsigned behind a ReLU",
        quantizers.zero_points,
    ),
    Rule(
        "scales",
        "scales must be positive and finite",
        "calibrate again; a dead channel may have no range",
        quantizers.scales,
    ),
    Rule(
        "rounding",
        "values must be rounded to nearest, as thresholds halfway do",
        "use rounding_mode ROUND and quantize again",
        quantizers.rounding,
    ),
    Rule(
        "binary",
        "values of 1 bit must come from a signed-binary quantizer",
        "use BipolarQuant (Brevitas' QuantType.BINARY), or 2 bits",
        quantizers.bipolar,
    ),
    Rule(
        "signed-weights", "weights must be signed", "quantize them signed and symmetrically", quantizers.signed_weights
    ),
    Rule(
        "weight-scales",
        "weights must have one scale, or one per output channel",
        "use weight_scaling: channel",
        quantizers.weight_scales,
    ),
    Rule(
        "weights-at-layer",
        "quantized weights must feed one layer directly, or through one Transpose",
        "give every layer a quantizer of its own right in front of it",
        quantizers.weights_at_layer,
    ),
    Rule(
        "quantized-weights",
        "the weights of a layer must be quantized",
        "quantize them too, or annotate integer weights with their data type",
        graph.quantized_weights,
    ),
    Rule(
        "quantized-inputs",
        "a layer must read quantized activations, the first one included",
        "put a quantizer in front of it, or annotate an integer input with its data type",
        graph.quantized_inputs,
    ),
    Rule(
        "quantized-pools",
        "pools must read quantized activations",
        "put a quantizer in front of it",
        graph.quantized_pools,
    ),
    Rule(
        "activation-scales",
        "activations must have one scale per tensor",
        "use activation_scaling: tensor",
        quantizers.per_tensor,
    ),
    Rule(
        "activation-bits",
        f"activations must have at most {quantizers.MOST_THRESHOLD_BITS} bits, since thresholds double with each",
        "use int8 or less, or raise max_multithreshold_bit_width",
        quantizers.activation_bits,
    ),
    Rule(
        "unsigned-behind-relu",
        "behind a ReLU a quantizer must be unsigned and not narrow",
        "quantize it unsigned: it gains a bit",
        quantizers.unsigned_behind_relu,
    ),
    Rule(
        "signed-elsewhere",
        "a quantizer that is not behind a ReLU must be signed",
        "put a ReLU in front of it: it changes nothing, and FINN absorbs it",
        quantizers.signed_elsewhere,
    ),
    Rule(
        "residual-adds",
        "both branches of a residual add must be quantized alike",
        "let them share one quantizer",
        graph.residual_adds,
    ),
    Rule(
        "convolutions",
        "a convolution must be 2-D and ungrouped or fully depthwise",
        "split the groups, or use a group per channel",
        graph.convolutions,
    ),
    Rule(
        "absorbed",
        "scales, biases and ReLUs must end in a quantizer, which absorbs them, or in the output",
        "quantize what it makes",
        graph.absorbed,
    ),
    Rule(
        "channels-first",
        "activations must stay channels first",
        "leave the reordering to FINN",
        graph.layouts,
    ),
    Rule("one-image", "the network must take one image at a time", "export it with batch 1", graph.batch),
    Rule(
        "opset-order",
        "standard ONNX must stand first among the imported operator sets, where qonnx looks for its version",
        "reorder opset_import",
        graph.opset_order,
    ),
    Rule(
        "narrow-weights",
        "weights should be narrow: DSP48E1 slices need it, and the lost code is rarely used",
        "use intN_narrow",
        quantizers.narrow_weights,
        advice=True,
    ),
    Rule(
        "topk",
        "the network should end in TopK, which absorbs a last scale and makes the output an index",
        "apply qonnx's InsertTopK, or export the point with --to finn",
        graph.topk,
        advice=True,
    ),
    Rule(
        "last-scale",
        "the last layer should have one scale and no bias, for its sums to be compared as they are",
        "else the host scales them first",
        graph.last_scale,
        advice=True,
    ),
)
"""Every rule, in the order in which it is reported."""
