"""QCDQ files, executed by onnxruntime with its graph optimizations off, compared with the model."""

import numpy as np
import onnx
import pytest
import torch
from export_models import edited, gate, images, network, node, quantized, set_values

from dse.export.errors import ExportError
from dse.export.qcdq import export_qcdq
from dse.export.qonnx import export_qonnx
from dse.onnx_network import read_network


def exported(tmp_path, *asked):
    model = quantized(*asked)
    path = tmp_path / "small.onnx"
    export_qcdq(model, images()[:1], path, name="small")
    return model, path


@pytest.mark.parametrize(
    ("weight", "activation", "scaling"),
    [
        ("int8", "int8", "channel"),
        ("int8_narrow", "int4", "channel"),
        ("int4", "int4", "channel_po2"),
        ("int3_narrow", "int6", "channel"),
        ("int2", "int2", "channel"),
        ("ocp_e4m3", "ocp_e5m2", "channel"),
        ("ocp_e5m2", "int4", "tensor"),
    ],
)
def test_the_file_computes_what_the_model_computes_and_reads_back_as_it(tmp_path, weight, activation, scaling):
    model, path = exported(tmp_path, weight, activation, scaling)
    report = gate(path, model, "qcdq")
    assert report.equal, report
    assert report.mismatching_outputs == 0
    assert report.executor == "onnxruntime, graph optimizations off"
    assert report.tied_samples > 0 or report.largest_difference <= report.bound
    assert read_network(path) == (network(), model.numerics)


def test_the_file_is_standard_onnx_with_integer_weights(tmp_path):
    _, path = exported(tmp_path, "int4", "int4")
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    assert {n.domain for n in model.graph.node} == {""}
    values = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    stored = [values[n.input[0]] for n in model.graph.node if n.op_type == "Clip" and n.input[0] in values]
    assert {array.dtype for array in stored} == {np.dtype(np.int8)}
    assert any(np.abs(array).max() <= 8 for array in stored)


def test_both_formats_can_be_written_from_one_model(tmp_path):
    """Each exporter needs handlers of its own; what one leaves behind must not serve the other."""
    model = quantized("int4", "int4")
    with torch.inference_mode():
        before = model.network(images())
    export_qonnx(model, images()[:1], tmp_path / "a.onnx", name="small")
    export_qcdq(model, images()[:1], tmp_path / "b.onnx", name="small")
    export_qonnx(model, images()[:1], tmp_path / "c.onnx", name="small")
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "c.onnx").read_bytes()
    assert {n.op_type for n in onnx.load(tmp_path / "b.onnx").graph.node} & {"Quant", "QuantizeLinear"} == {
        "QuantizeLinear"
    }
    with torch.inference_mode():
        assert torch.equal(model.network(images()), before)


def test_a_changed_weight_code_is_found(tmp_path):
    model, path = exported(tmp_path, "int4", "int4")

    def edit(proto):
        head = node(proto, "head")
        dequantize = next(n for n in proto.graph.node if n.output[0] == head.input[1])
        set_values(proto, dequantize.input[0], lambda codes: -codes)  # 8 bits: no Clip in between

    damaged = edited(path, tmp_path / "damaged.onnx", edit)
    report = gate(damaged, model, "qcdq")
    assert not report.equal
    assert report.first_difference.startswith("head (node 'head.with_bias', Add): off by")
    assert report.mismatching_outputs > 0


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        (("e2m1", "int8"), "e2m1 scaled per channel is asked for at the weights of layer conv; use --to qonnx"),
        (("int4", "e3m2"), "e3m2 scaled per tensor is asked for at the site relu1; use --to qonnx"),
        (
            ("int4", "int4", "group8"),
            "int4 scaled per group8 is asked for at the weights of layer conv; use --to qonnx",
        ),
    ],
)
def test_what_qcdq_cannot_hold_is_refused_by_name(tmp_path, asked, found):
    with pytest.raises(
        ExportError,
        match="qcdq holds integers of up to 8 bits and OCP's FP8, on constant scales per tensor or channel around zero, but",
    ) as error:
        export_qcdq(quantized(*asked), images()[:1], tmp_path / "small.onnx", name="small")
    assert found in str(error.value)
    assert list(tmp_path.iterdir()) == []
