"""Every rule of FINN's broken on purpose: the report names the node, what must hold, what is given, and the mend."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from export_models import images, initializer, node, quantized
from finn_graphs import DOMAIN, accepted, write
from onnx import helper, numpy_helper
from typer.testing import CliRunner

from dse.cli import app
from dse.export.qcdq import export_qcdq
from dse.export.qonnx import export_qonnx
from dse.finn.preflight import preflight
from dse.finn.rules import RULES
from dse.onnx_reader.errors import OnnxReadError

GOLDEN = Path(__file__).parents[1] / "golden" / "onnx"


def attribute(model, name, key, value):
    part = node(model, name)
    kept = [a for a in part.attribute if a.name != key]
    del part.attribute[:]
    part.attribute.extend([*kept, helper.make_attribute(key, value)])


def constant(name, value):
    def edit(model):
        tensor = initializer(model, name)
        tensor.CopyFrom(numpy_helper.from_array(np.asarray(value, np.float32), name))

    return edit


def rewire(name, position, tensor):
    return lambda model: node(model, name).input.__setitem__(position, tensor)


def insert(before, op, *, domain="", position=0, extra=(), **attributes):
    """Put a node into an edge in front of the node `before`."""

    def edit(model):
        reader = node(model, before)
        made = helper.make_node(
            op, [reader.input[position], *extra], ["inserted"], name="inserted", domain=domain, **attributes
        )
        index = list(model.graph.node).index(reader)
        model.graph.node.insert(index, made)
        reader.input[position] = "inserted"

    return edit


def replace_op(name, op):
    return lambda model: setattr(node(model, name), "op_type", op)


def remove(name):
    """Take a node out; its readers read what it read."""

    def edit(model):
        gone = node(model, name)
        for reader in model.graph.node:
            reader.input[:] = [gone.input[0] if tensor == gone.output[0] else tensor for tensor in reader.input]
        model.graph.node.remove(gone)

    return edit


def minifloat(model):
    part = node(model, "act")
    names = ["e", "m", "bias", "max"]
    model.graph.initializer.extend(
        numpy_helper.from_array(np.float32(v), n) for n, v in zip(names, (4, 3, 7, 448), strict=True)
    )
    part.op_type = "FloatQuant"
    part.input[2:] = names
    del part.attribute[:]


def dynamic_scale(model):
    """A scale that is the largest activation of the image, as dynamic quantizers have it."""
    part = node(model, "act")
    index = list(model.graph.node).index(part)
    model.graph.node.insert(
        index, helper.make_node("MaxPool", [part.input[0]], ["dynamic"], name="largest", kernel_shape=[6, 6])
    )
    part.input[1] = "dynamic"


def block_scales(model):
    """One scale per group of two input channels, written as one per weight."""
    scale = np.repeat(np.arange(1, 9).reshape(4, 2) / 8, 2, axis=1).reshape(4, 4, 1, 1)
    constant("conv.w.scale", np.broadcast_to(scale, (4, 4, 3, 3)).copy())(model)


def second_reader(model):
    model.graph.node.insert(7, helper.make_node("Conv", ["act.out", "conv.w.out"], ["again"], name="again"))


def plain_weights(model):
    node(model, "conv").input[1] = "conv.w.float"


def no_topk(model):
    model.graph.node.remove(node(model, "topk"))
    model.graph.output[0].name = "head.out"


def codes(model):
    part = node(model, "act")
    part.op_type, part.domain = "QuantizeLinear", ""
    del part.attribute[:], part.input[2:]
    index = list(model.graph.node).index(part)
    model.graph.node.insert(
        index + 1, helper.make_node("DequantizeLinear", ["codes", "act.scale"], ["act.out"], name="dq")
    )
    part.output[0] = "codes"


def bias_at_the_end(model):
    model.graph.initializer.append(numpy_helper.from_array(np.float32([1, 2, 3]), "b"))
    insert("topk", "Add", extra=["b"])(model)


def batch(model):
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 8


def swap_opsets(model):
    first = model.opset_import.pop(0)
    model.opset_import.append(first)


BREACHES = {
    "operators": [
        (replace_op("pool", "GlobalLpPool"), "GlobalLpPool node 'pool'", "FINN has no GlobalLpPool"),
        (insert("head", "Softmax"), "Softmax node 'inserted'", "FINN has no Softmax"),
    ],
    "constant-operand": [(rewire("head", 1, "pooled.out"), "MatMul node 'head'", "it multiplies two activations")],
    "quant-nodes": [
        (codes, "QuantizeLinear node 'act'", "it is in the QCDQ style"),
        (insert("act", "Clip"), "Clip node 'inserted'", "FINN has no Clip of activations"),
    ],
    "integers": [(minifloat, "FloatQuant node 'act'", "it quantizes to a minifloat of 4 exponent and 3 mantissa bits")],
    "constant-scales": [(dynamic_scale, "Quant node 'act'", "its scale is computed from the input (a dynamic scale)")],
    "zero-points": [
        (constant("act.zero", 3), "Quant node 'act'", "its zero point is 3"),
        (constant("head.w.zero", -1), "Quant node 'head.w'", "its zero point is -1"),
    ],
    "scales": [(constant("act.scale", 0), "Quant node 'act'", "it has a scale that is zero, negative or infinite")],
    "rounding": [
        (lambda m: attribute(m, "sum", "rounding_mode", "FLOOR"), "Quant node 'sum'", "it rounds by 'FLOOR'"),
    ],
    "binary": [(constant("conv.w.bits", 1), "Quant node 'conv.w'", "of 1 bit, whose scale FINN divides by 0")],
    "signed-weights": [(lambda m: attribute(m, "dw.w", "signed", 0), "Quant node 'dw.w'", "it is unsigned")],
    "weight-scales": [
        (block_scales, "Quant node 'conv.w'", "(4, 4, 3, 3): groups of weights share scales, as in block formats")
    ],
    "weights-at-layer": [
        (second_reader, "Quant node 'conv.w'", "2 nodes read it"),
        (insert("conv", "Identity", position=1), "Quant node 'conv.w'", "Identity node 'inserted' stands between"),
    ],
    "quantized-weights": [(plain_weights, "Conv node 'conv'", "they are not quantized")],
    "quantized-inputs": [
        (remove("input"), "Conv node 'conv'", "it reads what Relu node 'relu0' makes"),
        (rewire("conv", 0, "x"), "Conv node 'conv'", "it reads the network's input as it is"),
    ],
    "quantized-pools": [(remove("sum"), "GlobalAveragePool node 'pool'", "it reads what Relu node 'relu3' makes")],
    "activation-scales": [(constant("act.scale", [[[1]], [[2]], [[1]], [[1]]]), "Quant node 'act'", "it has 4 scales")],
    "activation-bits": [(constant("act.bits", 9), "Quant node 'act'", "it has 9")],
    "unsigned-behind-relu": [
        (lambda m: attribute(m, "act", "signed", 1), "Quant node 'act'", "it is signed"),
        (lambda m: attribute(m, "act", "narrow", 1), "Quant node 'act'", "its range is narrow"),
    ],
    "signed-elsewhere": [
        (remove("relu0"), "Quant node 'input'", "it is unsigned and reads the network's input as it is"),
        (remove("relu4"), "Quant node 'pooled'", "it is unsigned and reads what GlobalAveragePool node 'pool' makes"),
    ],
    "residual-adds": [
        (
            constant("left.scale", 0.5),
            "Add node 'add'",
            "Quant node 'left' and Quant node 'right' differ in scale, width or sign",
        ),
        (constant("right.bits", 8), "Add node 'add'", "differ in scale"),
        (remove("left"), "Add node 'add'", "it adds what is not quantized"),
    ],
    "convolutions": [
        (lambda m: attribute(m, "dw", "group", 2), "Conv node 'dw'", "it has 2 groups of 1 channels for 4 outputs"),
    ],
    "absorbed": [(remove("act"), "Relu node 'relu1'", "Conv node 'dw' reads it as it is")],
    "channels-first": [(insert("flatten", "Transpose"), "Transpose node 'inserted'", "it reorders activations")],
    "one-image": [(batch, "input 'x'", "it takes 8 images at a time")],
    "opset-order": [(swap_opsets, "the list of operator sets", f"it begins with '{DOMAIN}'")],
    "narrow-weights": [(lambda m: attribute(m, "dw.w", "narrow", 0), "Quant node 'dw.w'", "its range is not narrow")],
    "topk": [(no_topk, "output 'head.out'", "it ends in MatMul node 'head'")],
    "last-scale": [
        (constant("head.w.scale", [1, 2, 3]), "MatMul node 'head'", "it has a scale per class or a bias"),
        (bias_at_the_end, "MatMul node 'head'", "it has a scale per class or a bias"),
    ],
}
CASES = [(rule, *case) for rule, cases in BREACHES.items() for case in cases]


def test_the_accepted_graph_breaks_no_rule(tmp_path):
    path = write(tmp_path)
    onnx.checker.check_model(onnx.load(path))
    assert preflight(path).findings == ()


def test_every_rule_has_a_breach():
    assert list(BREACHES) == [rule.name for rule in RULES]


@pytest.mark.parametrize(("rule", "edit", "where", "given"), CASES)
def test_a_broken_rule_is_a_sentence_with_node_rule_and_mend(tmp_path, rule, edit, where, given):
    found = [f for f in preflight(write(tmp_path, edit)).findings if f.rule == rule]
    assert found
    text = str(found[0])
    stated = next(r for r in RULES if r.name == rule)
    assert text.startswith(f"{where}: {stated.must}, but ")
    assert given in text
    assert text.endswith(f"; {stated.mend}.")
    assert "\n" not in text


@pytest.mark.parametrize(
    "rule", ["scales", "rounding", "zero-points", "one-image", "opset-order", "narrow-weights", "topk"]
)
def test_a_breach_breaks_no_other_rule(tmp_path, rule):
    report = preflight(write(tmp_path, BREACHES[rule][0][0]))
    assert {finding.rule for finding in report.findings} == {rule}
    assert report.passes is next(r for r in RULES if r.name == rule).advice


@pytest.mark.parametrize("name", ["tfc_w2a2", "mlp_w8a8"])
def test_files_that_went_through_finn_pass(name):
    """Files of others, from which FINN v0.10.1 built: the only advice is the TopK that they lack."""
    report = preflight(GOLDEN / f"{name}.onnx")
    assert report.passes
    assert {finding.rule for finding in report.findings} == {"topk"}


def exported(tmp_path, weight, activation, scaling="channel"):
    path = tmp_path / "small.onnx"
    export_qonnx(quantized(weight, activation, scaling), images()[:1], path, name="small")
    return preflight(path)


def test_minifloats_are_refused_by_node(tmp_path):
    report = exported(tmp_path, "int4", "ocp_e4m3")
    nodes = {finding.node for finding in report.findings if finding.rule == "integers"}
    assert "FloatQuant node 'relu1.quant'" in nodes
    assert not report.passes


def test_groups_are_refused_by_node(tmp_path):
    report = exported(tmp_path, "int4", "int4", "group8")
    assert {f.rule for f in report.findings} & {"weight-scales", "weights-at-layer"}
    assert not report.passes


def test_qcdq_is_refused_with_the_way_to_qonnx(tmp_path):
    path = tmp_path / "small.onnx"
    export_qcdq(quantized("int4", "int4"), images()[:1], path, name="small")
    report = preflight(path)
    assert "quant-nodes" in {finding.rule for finding in report.findings}
    assert "QCDQToQuant" in report.text()


def test_the_command_has_json_and_exit_codes(tmp_path):
    run = CliRunner().invoke
    good = run(app, ["preflight", str(write(tmp_path)), "--json"])
    assert good.exit_code == 0
    assert json.loads(good.stdout) == {
        "file": str(tmp_path / "graph.onnx"),
        "passes": True,
        "rules": len(RULES),
        "findings": [],
    }
    bad = run(app, ["preflight", str(write(tmp_path, minifloat))])
    assert bad.exit_code == 1
    assert "FINN would not take it" in bad.stdout
    advised = run(app, ["preflight", str(write(tmp_path, no_topk))])
    assert advised.exit_code == 0
    assert "advice:" in advised.stdout


def test_what_is_no_network_is_one_sentence(tmp_path):
    path = tmp_path / "x.onnx"
    path.write_bytes(accepted().SerializeToString()[:300])
    with pytest.raises(OnnxReadError, match="it may be damaged"):
        preflight(path)
    with pytest.raises(OnnxReadError, match="must read a tensor, but it reads none"):
        preflight(write(tmp_path, lambda m: node(m, "relu1").input.pop()))


def outcome(path):
    try:
        return preflight(path).text()
    except OnnxReadError as error:
        return str(error)


def test_damage_of_any_kind_is_a_report_or_one_sentence(tmp_path):
    """Every edge moved elsewhere, every constant made absurd: never another exception."""
    model = accepted()
    for part in model.graph.node:
        for position in range(len(part.input)):
            for tensor in ("", "x", "act.out", "k", "nowhere"):
                assert outcome(write(tmp_path, rewire(part.name, position, tensor)))
    for tensor in model.graph.initializer:
        for value in (np.zeros((0,)), np.full((2, 2), np.nan), np.float32(-7)):
            assert outcome(write(tmp_path, constant(tensor.name, value)))
