"""QONNX files of every format family, executed by qonnx and compared with the model; and that the gate can fail."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from export_models import edited, images, initializer, labels, network, node, quantized, set_values

from dse.export.errors import ExportError
from dse.export.formats import check_exportable
from dse.export.gate import check_export
from dse.export.qonnx import export_qonnx
from dse.files import FileError
from dse.onnx_network import read_network
from dse.recost import cost_network, cost_onnx
from hwmodels.catalog import parse_element
from hwmodels.datapath import Accumulator, TensorQuant
from hwmodels.devices import get_device
from hwmodels.ops import LayerNumerics, Numerics
from hwmodels.options import CostModel, CostOptions

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


def exported(tmp_path, *asked, name="small.onnx", **more):
    model = quantized(*asked, **more)
    path = tmp_path / name
    export_qonnx(model, images()[:1], path, name="small")
    return model, path


@pytest.mark.parametrize(("weight", "activation", "scaling", "recipe"), FAMILIES)
def test_the_file_computes_what_the_model_computes_and_reads_back_as_it(tmp_path, weight, activation, scaling, recipe):
    model, path = exported(tmp_path, weight, activation, scaling, recipe)
    report = check_export(path, model, images(), labels(model), exporter="qonnx")
    assert report.equal, report
    assert report.samples == len(images())
    assert report.mismatching_outputs == 0
    assert report.top1_exported == report.top1_model == 1.0
    assert report.tied_images > 0 or report.largest_difference <= report.bound
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
        before = model.module(images())
        export_qonnx(model, images()[:1], tmp_path / "a.onnx", name="small")
        assert torch.equal(model.module(images()), before)


def differs(tmp_path, asked, edit):
    model, path = exported(tmp_path, *asked)
    damaged = edited(path, tmp_path / "damaged.onnx", edit)
    return check_export(damaged, model, images(), labels(model), exporter="qonnx")


def test_a_changed_weight_is_found_at_its_layer(tmp_path):
    def edit(model):
        set_values(
            model, "conv.weight", lambda w: w * np.where(np.arange(w.size).reshape(w.shape) == 7, 3, 1).astype("f4")
        )

    report = differs(tmp_path, ("int4", "int4"), edit)
    assert not report.equal
    assert "in front of add.in.quant" in report.first_difference


def test_a_changed_activation_scale_is_found_at_its_quantizer(tmp_path):
    def edit(model):
        set_values(model, node(model, "relu1.quant").input[1], lambda s: s * np.float32(1.001))

    report = differs(tmp_path, ("int8", "int8"), edit)
    assert not report.equal
    assert report.first_difference.startswith("relu1.quant: other values")


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
    assert "quantizers of activations" in report.first_difference


def test_a_file_that_cannot_execute_is_an_error_of_one_sentence(tmp_path):
    model, path = exported(tmp_path, "int4", "int4")
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(ExportError, match=r"must execute in qonnx, node by node, but it does not: [^\n]+$"):
        check_export(path, model, images(), labels(model), exporter="qonnx")


def one_layer(weight: str, activation: str) -> Numerics:
    quant = TensorQuant(parse_element(activation))
    return Numerics({"input": quant}, {"fc": LayerNumerics(TensorQuant(parse_element(weight)), Accumulator(20))})


def test_formats_that_no_exporter_has_are_refused_with_those_that_it_has():
    asked = "ue3m2 scaled per tensor is asked for at the site input; no exporter has it yet"
    with pytest.raises(ExportError, match=rf"qonnx holds integers and signed minifloats.*{asked}"):
        check_exportable(one_layer("int4", "ue3m2"), "qonnx")
    with pytest.raises(ExportError, match="one of qonnx, qcdq, but got 'tflite'"):
        check_exportable(one_layer("int4", "int4"), "tflite")


def test_a_path_that_cannot_be_written_leaves_nothing_behind(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    with pytest.raises(FileError, match="must be a file that can be written"):
        export_qonnx(quantized("int4", "int4"), images()[:1], blocked / "a.onnx", name="small")
    assert blocked.read_text() == "not a folder"
