"""QONNX files of every format family, executed by qonnx and compared with the model; and that the gate can fail."""

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from export_models import edited, gate, images, initializer, network, node, plan, quantized, set_values, small_net
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.core.onnx_exec import execute_onnx
from qonnx.transformation.infer_shapes import InferShapes

from dse.export.emit import EMITTERS
from dse.export.errors import ExportError
from dse.export.execute import Executable
from dse.export.formats import check_exportable
from dse.export.qonnx import export_qonnx
from dse.export.scales import PHI_ABOVE, PHI_BELOW, ROUNDOFF
from dse.files import FileError
from dse.onnx_network import OnnxReadError, read_network
from dse.recost import cost_network, cost_onnx
from hwmodels.catalog import parse_element
from hwmodels.datapath import Accumulator, TensorQuant
from hwmodels.devices import get_device
from hwmodels.formats import Minifloat
from hwmodels.ops import LayerNumerics, Numerics, Rotate
from hwmodels.options import CostModel, CostOptions
from workloads.graph import FUNCTIONS, METHODS, MODULES
from workloads.lowering import lower
from workloads.numerics import NumericsSpec
from workloads.plan import make_plan
from workloads.quantize import Engine, quantize
from workloads.recipes import parse_recipe

FAMILIES = [
    ("int8", "int8", "channel", "rtn"),
    ("int4", "int4", "channel", "bias_correction"),
    ("int3_narrow", "int2", "channel_po2", "rtn"),
    ("int4", "e2m1", "channel", "rtn"),
    ("e2m1", "e2m1", "channel", "rtn"),
    ("e3m2", "e4m1", "channel_po2", "rtn"),
    ("e3m0", "e2m0", "channel", "rtn"),
    ("e1m2", "e1m3", "channel", "rtn"),
    ("finite_e4m3", "ocp_e4m3", "channel", "rtn"),
    ("ocp_e4m3", "finite_e4m3", "channel", "gptq"),
    ("ocp_e5m2", "finite_e5m2", "channel", "rtn"),
    ("fnuz_e4m3", "ieee_e3m4", "channel", "rtn"),
    ("e6m1", "e7m0", "channel", "rtn"),
    ("int4", "int8", "group8", "rtn"),
    ("e2m1", "e2m1", "group16_po2", "rtn"),
]


SCALINGS = [
    ("int4", "int8", "channel", "tensor_asym"),
    ("int4", "int4", "channel", "tensor_po2_asym"),
    ("int8", "int4", "tensor", "tensor_dynamic"),
    ("int4", "e2m1", "group8", "token"),
    ("ocp_e4m3", "ocp_e4m3", "channel_po2", "token_po2"),
    ("int8", "int8", "group8_po2", "group8_po2_dynamic"),  # OCP MX
    ("e2m1", "e2m1", "group16_po2", "group16_po2_dynamic"),
    ("e3m0", "e3m0", "group8_po2", "group8_po2_dynamic"),
    ("e2m1", "e2m1", "group16_e4m3", "group16_e4m3_dynamic"),  # NVFP4
    ("int4", "int3_narrow", "group8_e4m3", "group8_e4m3_dynamic"),
    ("int4", "e2m1", "channel", "group16_e4m3_dynamic"),
]
"""Zero points, and scales that are computed from what they scale: per frame, pixel, group; floats, powers of two, E4M3."""


@pytest.mark.parametrize("asked", SCALINGS, ids="-".join)
def test_every_scale_is_in_the_file(tmp_path, asked):
    weight, activation, scaling, activation_scaling = asked
    model, path = exported(tmp_path, weight, activation, scaling, activation_scaling=activation_scaling)
    report = gate(path, model)
    assert report.equal, report
    assert report.tied_samples > 0 or report.largest_difference <= report.bound
    assert read_network(path) == (network(), model.numerics)


@pytest.mark.parametrize("recipe", ["hadamard8", "hadamard4+gptq"])
def test_online_rotations_are_in_the_file(tmp_path, recipe):
    spec = NumericsSpec(TensorQuant(parse_element("int4")), TensorQuant(parse_element("int4")), parse_recipe(recipe))
    engine = Engine(small_net(), plan(), images(64, 6))
    model, path = engine.quantize(spec), tmp_path / "rotated.onnx"
    export_qonnx(model, images()[:1], path, name="small")
    assert gate(path, model).equal
    rotated = lower(engine.prepared(spec.recipe.preparations).plan, "small")
    assert any(isinstance(op, Rotate) for op in rotated.operators)
    assert read_network(path) == (rotated, model.numerics)


def test_qonnx_itself_computes_what_is_computed_node_by_node(tmp_path):
    model, path = exported(tmp_path, "e2m1", "e2m1", "group16_e4m3", activation_scaling="group16_e4m3_dynamic")
    batch = images()[:1].numpy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        wrapped = ModelWrapper(str(path)).transform(InferShapes())
        (made,) = execute_onnx(wrapped, {"images": batch}).values()
    assert np.array_equal(made, Executable(path).run(batch))
    with torch.inference_mode():
        assert np.allclose(made, model.network(images()[:1]).numpy(), rtol=0, atol=1e-3)  # ties aside


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        (("int4", "int4"), {"relu1.quant": "SCALEDINT<4>", "conv.weight.quant": "SCALEDINT<4>"}),
        (("ocp_e4m3", "e2m1"), {"relu1.quant": "FLOAT<2,1,1>", "conv.weight.quant": "FLOAT<4,3,7>"}),
        (("e3m0", "e1m2"), {"relu1.quant": "FLOAT<1,2,0>", "conv.weight.quant": "FLOAT<3,0,3>"}),
    ],
)
def test_data_types_and_proved_accumulators_are_read_back_by_qonnx(tmp_path, asked, found):
    model, path = exported(tmp_path, *asked)
    wrapped = ModelWrapper(str(path))
    assert {name: wrapped.get_tensor_datatype(name).get_canonical_name() for name in found} == found
    for layer in model.layers:
        accumulator = wrapped.get_tensor_datatype(layer.name)
        assert accumulator.bitwidth() == layer.bits
        assert accumulator.get_canonical_name() == f"SCALEDINT<{layer.bits}>"


def test_values_lie_in_the_data_types_that_are_noted(tmp_path):
    """On scales of 1, where qonnx can check them."""
    model, path = exported(tmp_path, "e2m1", "e2m1", "group16_e4m3")
    wrapped = ModelWrapper(str(path))
    name = "conv.weight.scale.e4m3"
    assert wrapped.get_tensor_datatype(name).get_canonical_name() == "FLOAT<4,3,7>"
    assert wrapped.get_tensor_datatype(name).allowed(wrapped.get_initializer(name)).all()
    scales = wrapped.get_initializer(name) * wrapped.get_initializer("conv.weight.scale.tensor")
    conv = next(layer for layer in model.layers if layer.name == "conv")
    assert sorted(scales.ravel()) == sorted(conv.scale.ravel())


@pytest.mark.parametrize(("phi", "up"), [(PHI_BELOW, False), (PHI_ABOVE, True)])
def test_powers_of_two_are_found_at_every_exponent(phi, up):
    exponents = np.arange(-149, 128)
    steps = np.array([1, 1 + 2.0**-52, 1 + 2.0**-23, 1.5, 2 - 2.0**-23, 2 - 2.0**-52])
    x = (np.ldexp(1.0, exponents)[:, None] * steps).ravel()
    scaled = phi * x
    mantissa, exponent = np.frexp(x)
    wanted = np.ldexp(1.0, exponent - 1 + (up & (mantissa != 0.5)))
    assert np.array_equal(scaled - (1 - ROUNDOFF) * scaled, wanted)


def exported(tmp_path, *asked, name="small.onnx", **more):
    model = quantized(*asked, **more)
    path = tmp_path / name
    export_qonnx(model, images()[:1], path, name="small")
    return model, path


@pytest.mark.parametrize(("weight", "activation", "scaling", "recipe"), FAMILIES)
def test_the_file_computes_what_the_model_computes_and_reads_back_as_it(tmp_path, weight, activation, scaling, recipe):
    model, path = exported(tmp_path, weight, activation, scaling, recipe)
    report = gate(path, model)
    assert report.equal, report
    assert report.samples == len(images())
    assert report.mismatching_outputs == 0
    assert report.metrics_exported["top1"] == report.metrics_model["top1"] == 1.0
    assert report.tied_samples > 0 or report.largest_difference <= report.bound
    assert 0 < report.bound < 1e-3  # rounding errors of a 32-term sum, not a loose tolerance
    assert read_network(path) == (network(), model.numerics)


def test_accumulators_that_weights_do_not_prove_are_in_the_file(tmp_path):
    model, path = exported(tmp_path, "int4", "int4", bits=24)
    assert {layer.accumulator.bits for layer in model.numerics.layers.values()} == {24}
    assert read_network(path)[1] == model.numerics


def test_tiles_are_in_the_file(tmp_path):
    model, path = exported(tmp_path, "int4", "int4", recipe="axe", bits=20, tile=16)
    tiles = {layer.accumulator.tile_size for layer in model.numerics.layers.values()}
    assert 16 in tiles
    assert read_network(path)[1] == model.numerics


@pytest.mark.parametrize("model", [CostModel.CALIBRATED, CostModel.FINN])
def test_the_file_costs_what_the_network_costs(tmp_path, model):
    quantized_model, path = exported(tmp_path, "int4", "int4")
    device, options = get_device("xczu3eg"), CostOptions(model)
    from_file = cost_onnx(path, device, 1000, options, 100.0)
    assert from_file == cost_network(network(), quantized_model.numerics, device, 1000, options, 100.0)
    assert from_file.total.lut > 0


def test_the_file_holds_what_finn_asks_for(tmp_path):
    _, path = exported(tmp_path, "int4", "int4")
    model = onnx.load(path)
    onnx.checker.check_model(model)
    assert [value.name for value in model.graph.input] == ["images"]
    assert [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim] == [1, 2, 12, 12]
    values = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    quants = [n for n in model.graph.node if n.op_type == "Quant"]
    assert quants
    for quant in quants:
        assert (values[quant.input[2]] == 0).all()
        assert values[quant.input[0]].ndim > 1 if quant.input[0] in values else values[quant.input[1]].size == 1
    add_inputs = [node(model, "add.in.quant"), node(model, "add.in.quant_1")]
    assert len({tuple(quant.input[1:]) for quant in add_inputs}) == 1  # one shared quantizer


def test_equal_models_give_equal_files_that_name_no_machine(tmp_path):
    _, first = exported(tmp_path, "e2m1", "int4", name="a.onnx")
    _, second = exported(tmp_path, "e2m1", "int4", name="b.onnx")
    assert first.read_bytes() == second.read_bytes()
    assert str(Path.cwd()).encode() not in first.read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.onnx", "b.onnx"]


def test_exporting_leaves_the_model_as_it_was(tmp_path):
    model = quantized("int4", "e2m1")
    with torch.inference_mode():
        before = model.network(images())
        export_qonnx(model, images()[:1], tmp_path / "a.onnx", name="small")
        assert torch.equal(model.network(images()), before)


def differs(tmp_path, asked, edit):
    model, path = exported(tmp_path, *asked)
    damaged = edited(path, tmp_path / "damaged.onnx", edit)
    return gate(damaged, model)


def test_a_changed_weight_is_found_at_its_layer(tmp_path):
    def edit(model):
        set_values(
            model, "conv.weight", lambda w: w * np.where(np.arange(w.size).reshape(w.shape) == 7, 3, 1).astype("f4")
        )

    report = differs(tmp_path, ("int4", "int4"), edit)
    assert not report.equal
    assert report.first_difference.startswith("conv (node 'conv.with_bias', Add): off by")


def test_a_changed_activation_scale_is_found_at_its_quantizer(tmp_path):
    def edit(model):
        set_values(model, node(model, "relu1.quant").input[1], lambda s: s * np.float32(1.001))

    report = differs(tmp_path, ("int8", "int8"), edit)
    assert not report.equal
    assert report.first_difference.startswith("relu1.quant (node 'relu1.quant', Quant): other values")


def test_a_format_with_another_maximum_is_found(tmp_path):
    """OCP E4M3 reaches 448; QONNX' own default for E4M3 is 480."""

    def edit(model):
        maximum = node(model, "relu1.quant").input[5]
        assert float(onnx.numpy_helper.to_array(initializer(model, maximum))) == 448.0
        set_values(model, maximum, lambda m: m * 0 + np.float32(480.0))
        set_values(model, node(model, "relu1.quant").input[1], lambda s: s / 4)  # so that values saturate

    assert not differs(tmp_path, ("ocp_e4m3", "ocp_e4m3"), edit).equal


def test_a_missing_quantizer_is_found(tmp_path):
    def edit(model):
        quantizer = node(model, "relu3.quant")
        for reader in model.graph.node:
            reader.input[:] = [quantizer.input[0] if name == quantizer.output[0] else name for name in reader.input]
        model.graph.node.remove(quantizer)

    report = differs(tmp_path, ("int4", "int4"), edit)
    assert not report.equal
    assert report.first_difference == "the file has no tensor 'relu3.quant'"


def test_a_file_that_cannot_execute_is_an_error_of_one_sentence(tmp_path):
    model, path = exported(tmp_path, "int4", "int4")
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(OnnxReadError, match=r"must be an ONNX model, but it cannot be parsed; it may be damaged\.$"):
        gate(path, model)
    _, path = exported(tmp_path, "int4", "int4")
    odd = edited(path, tmp_path / "odd.onnx", lambda proto: set_values(proto, "conv.bias", lambda b: b[:, :7]))
    with pytest.raises(
        ExportError, match=r"^node 'conv.with_bias' \(Add\) of .*odd.onnx must execute, but it does not: [^\n]+\.$"
    ):
        gate(odd, model)


def one_layer(weight: str, activation: str) -> Numerics:
    quant = TensorQuant(parse_element(activation))
    return Numerics({"input": quant}, {"fc": LayerNumerics(TensorQuant(parse_element(weight)), Accumulator(20))})


def test_formats_that_no_exporter_has_are_refused_with_those_that_it_has():
    asked = "e4m3_nosubnormals scaled per tensor is asked for at the site input; no exporter has it yet"
    numerics = one_layer("int4", "int4")
    bare = replace(numerics, sites={"input": TensorQuant(Minifloat(4, 3, subnormals=False))})
    with pytest.raises(
        ExportError, match=rf"qonnx holds integers and minifloats with subnormals, on any scale.*{asked}"
    ):
        check_exportable(bare, "qonnx")
    with pytest.raises(ExportError, match="one of qonnx, qcdq, finn, but got 'tflite'"):
        check_exportable(one_layer("int4", "int4"), "tflite")


def test_a_path_that_cannot_be_written_leaves_nothing_behind(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    with pytest.raises(FileError, match="must be a file that can be written"):
        export_qonnx(quantized("int4", "int4"), images()[:1], blocked / "a.onnx", name="small")
    assert blocked.read_text() == "not a folder"


def test_every_kind_of_node_that_is_understood_can_be_written():
    assert set(EMITTERS) >= {*MODULES, *FUNCTIONS, *METHODS}


def test_layers_that_are_called_by_numbers_are_exported(tmp_path):
    """As those of an `nn.Sequential`; the file's constants are named after numbers too."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3)).eval()
    samples = torch.linspace(0, 1, 64).reshape(8, 8)
    quant = TensorQuant(parse_element("int4"))
    spec = NumericsSpec(weight=quant, activation=quant, recipe=parse_recipe("rtn"))
    export_qonnx(
        quantize(model, make_plan(model, samples[:1]), spec, samples), samples[:1], tmp_path / "x.onnx", name="x"
    )
    assert [op.name for op in read_network(tmp_path / "x.onnx")[0].compute] == ["0", "2"]
