"""Build the accelerator in this folder with FINN: `python build_dataflow.py`, in the environment that FINN is installed in.

Reads `build.json` beside it (part, clock, frame rate, names of the other files), and writes into `build/`: FINN's reports
in `build/report/`, and in `build/host.onnx` what is left for the host to compute. Written for finn-plus 1.6.1, with which
its estimates are tested; those need no Vivado. For more put "stitched_ip" or "bitfile" under "outputs" of `build.json`, and
source Vivado first; that part is FINN's own and was not run by those who wrote this file.

What differs from FINN's default steps:

- the host quantizes the input (`round(x / scale)`, clipped; scale and type are in `build.json`), so no floating-point
  thresholds stand in front of the first layer;
- scales are moved through residual branches too, which FINN's `step_streamline` does not try;
- a global mean becomes a sum and joins the thresholds behind it;
- what follows the last layer (a scale per class, a bias, the search for the largest) stays on the host.
"""

from __future__ import annotations

import json
import os
import sys
import types
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
MOST_ROUNDS = 16  # of streamlining; a residual block takes one
ON_THE_HOST = ("Mul", "Add", "TopK")


def without_vivado() -> None:
    """Let FINN be imported where no Vivado is: it looks for the simulator's library, which estimates do not use."""
    if "XILINX_VIVADO" not in os.environ:
        os.environ["XILINX_VIVADO"] = str(HERE)
        module: Any = types.ModuleType("finn.xsi")
        module.SimEngine = object
        sys.modules["finn.xsi"] = module


def until_stable(model: Any, transformations: list[Any]) -> Any:
    """The model after as many rounds of the transformations as change it."""
    for _ in range(MOST_ROUNDS):
        before = model.model.SerializeToString(deterministic=True)
        for transformation in transformations:
            model = model.transform(transformation)
        if model.model.SerializeToString(deterministic=True) == before:
            break
    return model


def step_host_quantizes_the_input(model: Any, cfg: Any) -> Any:
    """Take the thresholds of the input away; the input is integer then, as the host gives it."""
    from qonnx.core.datatype import DataType
    from qonnx.custom_op.registry import getCustomOp
    from qonnx.transformation.infer_datatypes import InferDataTypes

    name = model.graph.input[0].name
    readers = model.find_consumers(name)
    if len(readers) != 1 or readers[0].op_type != "MultiThreshold":
        raise SystemExit("the input must be quantized by one quantizer; run `dse preflight model.onnx`")
    thresholds = readers[0]
    quantized = thresholds.output[0]
    data_type = DataType[getCustomOp(thresholds).get_nodeattr("out_dtype")]
    after = model.find_consumers(quantized)
    if data_type.signed() and len(after) == 1 and after[0].op_type == "Add":
        quantized = after[0].output[0]  # thresholds count from 0, this shifts them to the codes
        model.graph.node.remove(after[0])
    for node in model.graph.node:
        for index, tensor in enumerate(node.input):
            if tensor == quantized:
                node.input[index] = name
    model.graph.node.remove(thresholds)
    model.set_tensor_datatype(name, data_type)
    return model.transform(InferDataTypes())


def step_streamline_with_branches(model: Any, cfg: Any) -> Any:
    """Integers throughout: scales and biases move into thresholds, over forks and residual adds; then pixels first."""
    from finn.transformation.fpgadataflow.convert_to_hw.global_acc_pool import InferGlobalAccPoolLayer
    from finn.transformation.streamline import Streamline, absorb, reorder
    from finn.transformation.streamline.round_thresholds import RoundAndClipThresholds
    from qonnx.transformation import general
    from qonnx.transformation.infer_data_layouts import InferDataLayouts
    from qonnx.transformation.infer_datatypes import InferDataTypes
    from qonnx.transformation.lower_convs_to_matmul import LowerConvsToMatMul

    scales = [
        absorb.AbsorbScalarBiasIntoMultiThreshold(),
        reorder.MoveLinearPastEltwiseAdd(),
        reorder.MoveLinearPastFork(),
        Streamline(),
    ]
    layouts = [
        reorder.MakeMaxPoolNHWC(),
        absorb.AbsorbTransposeIntoMultiThreshold(),
        reorder.MoveTransposePastFork(),
        reorder.MoveTransposePastJoinAdd(),
        reorder.MoveTransposePastScalarMul(),
        absorb.AbsorbConsecutiveTransposes(),
        absorb.AbsorbTransposeIntoFlatten(),
        general.GiveUniqueNodeNames(),
        general.GiveReadableTensorNames(),
        InferDataTypes(),
    ]
    model = until_stable(model, scales)
    model = until_stable(model.transform(LowerConvsToMatMul()), layouts)
    model = model.transform(InferDataLayouts()).transform(InferGlobalAccPoolLayer())
    model = until_stable(model, layouts)
    for last in (
        Streamline(),
        absorb.AbsorbScalarMulAddIntoTopK(),
        RoundAndClipThresholds(),
        general.SortGraph(),
        general.RemoveUnusedTensors(),
        general.GiveUniqueNodeNames(),
        general.GiveReadableTensorNames(),
        InferDataTypes(),
        InferDataLayouts(),
    ):
        model = model.transform(last)
    return model


def step_leave_to_the_host(model: Any, cfg: Any) -> Any:
    """Cut off what follows the last layer, and save it as `host.onnx`: the sums leave the accelerator."""
    import onnx
    from onnx.utils import Extractor

    graph, chain = model.graph, []
    cut = graph.output[0].name
    while (node := model.find_producer(cut)) is not None and node.op_type in ON_THE_HOST:
        chain.append(node)
        cut = node.input[0]
    if not chain:
        return model
    plain = onnx.ModelProto()
    plain.CopyFrom(model.model)
    del plain.graph.quantization_annotation[:]
    host = Extractor(plain).extract_model([cut], [value.name for value in graph.output])
    ends = {value.name for value in (*host.graph.input, *host.graph.output)}
    inner = [value for value in host.graph.value_info if value.name not in ends]  # they are listed a second time
    del host.graph.value_info[:]
    host.graph.value_info.extend(inner)
    onnx.save(host, Path(cfg.output_dir) / "host.onnx")
    made = model.get_tensor_valueinfo(cut)
    del graph.output[:]
    graph.output.append(made)
    graph.value_info.remove(made)
    for node in chain:
        graph.node.remove(node)
    return model


def step_know_the_nodes(model: Any, cfg: Any) -> Any:
    """Stop if FINN named its nodes otherwise than the folding expects: it would be applied to the wrong ones."""
    from qonnx.custom_op.registry import getCustomOp

    expected = json.loads((HERE / json.loads((HERE / "build.json").read_text())["nodes_file"]).read_text())
    found = {node.name: node for node in model.graph.node}
    if set(found) != set(expected):
        raise SystemExit(f"FINN's nodes must be those of nodes.json, but these differ: {set(found) ^ set(expected)}")
    for name, wanted in expected.items():
        for attribute in wanted.keys() - {"operator"}:
            made = getCustomOp(found[name]).get_nodeattr(attribute)
            if made != wanted[attribute]:
                raise SystemExit(f"{attribute} of {name} must be {wanted[attribute]}, but FINN's node has {made}")
    return model


def main() -> None:
    """Build what `build.json` asks for; exit code 1 if FINN fails."""
    asked = json.loads((HERE / "build.json").read_text())
    output = HERE / "build"
    output.mkdir(exist_ok=True)
    os.environ.setdefault("FINN_BUILD_DIR", str(output / "intermediate"))
    without_vivado()
    from finn.builder import build_dataflow
    from finn.builder import build_dataflow_config as config
    from finn.util.settings import initialize_dummy_settings

    initialize_dummy_settings()
    outputs = [config.DataflowOutputType(name) for name in asked["outputs"]]
    estimates = outputs == [config.DataflowOutputType.ESTIMATE_REPORTS]
    steps = list(config.estimate_only_dataflow_steps if estimates else config.default_build_dataflow_steps)
    index = steps.index("step_streamline")
    steps[index : index + 1] = [step_host_quantizes_the_input, step_streamline_with_branches, step_leave_to_the_host]
    folding = asked["folding_config_file"]
    if folding:
        steps.insert(steps.index("step_apply_folding_config"), step_know_the_nodes)
    cfg = config.DataflowBuildConfig(
        output_dir=str(output),
        synth_clk_period_ns=asked["clock_period_ns"],
        fpga_part=asked["part"],
        board=asked["board"],
        generate_outputs=outputs,
        steps=steps,
        standalone_thresholds=False,  # thresholds inside the units, as the cost estimates of this design assume
        target_fps=None if folding else asked["target_fps"],
        folding_config_file=folding and str(HERE / folding),
        specialize_layers_config_file=asked["specialize_layers_config_file"]
        and str(HERE / asked["specialize_layers_config_file"]),
        save_intermediate_models=True,
    )
    if build_dataflow.build_dataflow_cfg(str(HERE / asked["model"]), cfg) != 0:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
