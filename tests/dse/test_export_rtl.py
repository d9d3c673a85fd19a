"""Datapaths of the small network as Verilog, simulated: equal to the accumulator model and to the network, or found out."""

import json
import re
import shutil

import numpy as np
import pytest
from export_models import images, plan, quantized, small_net
from typer.testing import CliRunner

from dse.cli import app
from dse.export.errors import ExportError
from dse.export.rtl import export_datapath
from dse.export.rtl_check import check_layer_files, choose_simulator, sources_of
from dse.export.rtl_design import make_design
from dse.export.rtl_files import part_names
from hwmodels.catalog import parse_element
from hwmodels.datapath import Overflow, TensorQuant, parse_scaling
from hwmodels.ops import Folding
from hwmodels.rtl import icarus
from hwmodels.rtl.check import Simulator
from hwmodels.yosys import yosys_version
from workloads.numerics import NumericsSpec
from workloads.quantize import quantize
from workloads.recipes import parse_recipe

needs_icarus = pytest.mark.skipif(
    shutil.which("iverilog") is None, reason="Icarus Verilog is not on the PATH (Debian, Ubuntu: apt install iverilog)"
)
FOLDINGS = {
    "stem": Folding(2, 6),
    "conv": Folding(2, 16),
    "depthwise": Folding(4, 3),
    "pointwise": Folding(2, 8),
    "head": Folding(1, 4),
}
"""Few lanes: quick to simulate."""


def export(folder, weight, activation, scaling="channel", *, names=None, simulator=None, **recipe):
    model = quantized(weight, activation, scaling, **recipe)
    layers = [layer for layer in plan().layers if names is None or layer.name in names]
    about = {"name": "small", "design": f"{weight} x {activation}"}
    return export_datapath(model, plan(), layers, FOLDINGS, images(3), folder, vectors=3, simulator=simulator, **about)


DESIGNS = [
    ("int4", "int4", "channel", {}),
    ("int8", "int3", "tensor", {}),
    ("e2m1", "e2m1", "group16_po2", {}),
    ("e3m2", "int5", "channel_po2", {}),
    ("ocp_e4m3", "e3m0", "channel", {}),
    ("int3", "e2m1", "group8", {}),
    ("e2m1", "e2m3", "group16_e4m3", {}),
    ("int4_narrow", "int4", "channel", {"recipe": "axe", "bits": 14, "tile": 32}),
]


@needs_icarus
@pytest.mark.parametrize(("weight", "activation", "scaling", "more"), DESIGNS, ids=str)
def test_every_layer_computes_what_the_network_computed(tmp_path, weight, activation, scaling, more):
    report = export(tmp_path, weight, activation, scaling, **more)
    assert report.equal
    assert report.mismatches == 0
    assert [layer.layer for layer in report.layers] == [layer.name for layer in plan().layers]
    for layer in report.layers:
        assert layer.real == 3
        assert layer.corner >= 7
        assert layer.model.outside == 0
        assert layer.model.outputs >= 15
        # ties need an output that lies on a border within float32's rounding, or where 16 bits of a scale matter
        assert layer.model.ties <= layer.model.codes // 1000
    assert [layer.model.codes > 0 for layer in report.layers] == [True] * 4 + [False]  # the head gives sums
    # the corner vectors do leave the accumulators of all units
    assert all(unit.overflows > 0 for unit in report.units)
    assert json.loads((tmp_path / "report.json").read_text()) == json.loads(json.dumps(report.as_dict())) | {
        "folder": "."
    }


@needs_icarus
@pytest.mark.parametrize("overflow", [Overflow.SATURATE, Overflow.WRAP])
@pytest.mark.parametrize(("weight", "activation", "bits"), [("int4", "int4", 9), ("e3m2", "e2m1", 12)])
def test_declared_overflow_is_that_of_the_network(tmp_path, weight, activation, bits, overflow):
    """Sums that do leave P bits in the network itself: clamped or wrapped at the same products; or a truncated window."""
    spec = NumericsSpec(
        weight=TensorQuant(parse_element(weight), parse_scaling("channel")),
        activation=TensorQuant(parse_element(activation)),
        recipe=parse_recipe("rtn"),
        edge=None,
        accumulator_bits=bits,
        overflow=overflow,
        lanes=tuple((name, folding.simd) for name, folding in FOLDINGS.items()),
    )
    model = quantize(small_net(), plan(), spec, images(64, 6))
    conv = next(layer for layer in plan().layers if layer.name == "conv")
    report = export_datapath(model, plan(), [conv], FOLDINGS, images(2), tmp_path, name="x", design="y", vectors=8)
    assert report.equal
    assert report.layers[0].model.ties == 0
    held = json.loads((tmp_path / "design.json").read_text())["layers"]["conv"]["accumulator"]
    assert held["overflow"] == overflow
    assert (model.overflows()["conv"].overflows > 0, held["dropped_bits"] > 0) == (weight == "int4", weight == "e3m2")


@needs_icarus
def test_the_description_maps_layers_to_units_that_they_share(tmp_path):
    report = export(tmp_path, "int8", "int8", names=["conv", "head"])
    about = json.loads((tmp_path / "design.json").read_text())
    for layer in report.layers:
        described = about["layers"][layer.layer]
        assert (described["module"], described["pe"], described["simd"]) == (layer.module, layer.pe, layer.simd)
        assert described["cycles_per_vector"] == described["rows"] * described["cols"] // (layer.pe * layer.simd)
        assert layer.layer in about["units"][described["unit"]]["layers"]
        assert (tmp_path / about["units"][described["unit"]]["file"]).is_file()
        for name in re.findall(r'"(data/[^"]+)"', (tmp_path / f"rtl/{layer.module}.v").read_text()):
            assert (tmp_path / name).is_file()
    assert about["layers"]["head"]["requantizer"] is None
    assert "make verilator" in (tmp_path / "README.md").read_text()


@needs_icarus
def test_layers_of_one_datapath_share_its_module(tmp_path):
    model = quantized("int8", "int8", bits=24)
    chosen = [layer for layer in plan().layers if layer.name in ("stem", "conv")]
    foldings = dict.fromkeys(("stem", "conv"), Folding(2, 9))
    report = export_datapath(model, plan(), chosen, foldings, images(2), tmp_path, name="x", design="y", vectors=1)
    assert report.equal
    assert len({layer.unit for layer in report.layers}) == 1
    assert len(list((tmp_path / "rtl").glob("dot_*.v"))) == 1


@needs_icarus
@pytest.mark.parametrize(
    ("file", "pattern", "wrong", "found"),
    [
        ("rtl/dot_int4_uint4_p*.v", r"sum <= next", "sum <= next + 1", "first wrong sums"),
        ("rtl/layer_conv.v", r"clear_q <= ~\|word", "clear_q <= 1'b0", "first wrong sums"),
        ("data/layer_conv.weights.hex", r"\A.", "9", "first wrong sums"),
        ("data/layer_conv.thresholds.0.0.hex", r"\A\S+", "0" * 4, "first wrong codes"),
        ("rtl/layer_conv.v", r"groups\[0:0\]", "~groups[0:0]", "first wrong codes"),
        ("rtl/layer_conv.v", r"sums_valid = ", "sums_valid = 1'b0 & ", "0 of .* words of sums"),
    ],
)
def test_a_broken_file_is_found_out(tmp_path, file, pattern, wrong, found):
    model = quantized("int4", "int4")
    layer = next(each for each in plan().layers if each.name == "conv")
    foldings = {"conv": Folding(8, 16)}
    report = export_datapath(model, plan(), [layer], foldings, images(2), tmp_path, name="x", design="y", vectors=2)
    assert report.equal
    path = next(tmp_path.glob(file))
    broken, changes = re.subn(pattern, wrong, path.read_text(), count=1)
    assert changes
    path.write_text(broken)
    behind = model.numerics.sites["add.in"]
    design = make_design(model, layer, foldings["conv"], behind)
    verdict = check_layer_files(
        tmp_path, design, 2 + report.layers[0].corner, sources_of(design, part_names([design])), 60
    )
    assert verdict.wrong > 0
    assert re.search(found, verdict.first_difference)


def test_a_network_with_other_scales_is_found_out(tmp_path):
    model = quantized("int4", "int4")
    scales = {**model.site_scales, "relu1": model.site_scales["relu1"] * (1 + 2**-14)}
    other = type(model)(**{**vars(model), "site_scales": scales})
    layer = next(each for each in plan().layers if each.name == "conv")
    report = export_datapath(
        other, plan(), [layer], {"conv": Folding(1, 16)}, images(2), tmp_path, name="x", design="y"
    )
    assert report.mismatches == 0  # the Verilog is what the codes say,
    assert not report.equal  # but the codes are not what the network computed
    assert re.match(r"conv, vector \d+, row \d+: the datapath gives .*, the network ", report.first_difference)
    assert "NOT EQUAL" in report.text()


@pytest.mark.parametrize(
    ("weight", "activation", "scaling"),
    [("e2m1", "int4", "group16_po2"), ("e3m2", "e2m1", "channel")],
)
def test_yosys_simulates_where_icarus_is_absent(tmp_path, weight, activation, scaling):
    report = export(tmp_path, weight, activation, scaling, names=["pointwise"], simulator=Simulator.YOSYS)
    assert report.equal
    assert report.simulator.startswith("Yosys")
    assert "without the memories" in report.text()
    # sums and codes of every row
    (layer,) = report.layers
    assert layer.verdict.compared == 2 * 32 * (layer.real + layer.corner)


def test_no_simulator_names_what_to_install(monkeypatch):
    def absent(name):
        return None

    monkeypatch.setattr(icarus.shutil, "which", absent)
    icarus.icarus_version.cache_clear()
    assert choose_simulator() is Simulator.YOSYS
    monkeypatch.setattr("hwmodels.yosys.find_spec", absent)
    yosys_version.cache_clear()
    with pytest.raises(
        ExportError, match=r"neither Icarus Verilog \(.*apt install iverilog\) nor Yosys \(.*bitfront\[synth\]"
    ):
        choose_simulator()
    icarus.icarus_version.cache_clear()
    yosys_version.cache_clear()


def test_layer_options_are_those_of_rtl(tmp_path):
    result = CliRunner().invoke(app, ["export", str(tmp_path), "--point", "knee", "--layer", "stem"])
    assert isinstance(result.exception, ExportError)
    assert "must come with --to rtl, but got --to qonnx" in str(result.exception)


def test_scales_that_no_shift_reaches_are_refused():
    model = quantized("e2m1", "e2m1", "group16_po2")
    layer = next(each for each in plan().layers if each.name == "conv")
    result = next(each for each in model.layers if each.name == "conv")
    scale = result.scale.copy()
    used = np.argwhere(np.abs(result.codes[0]).reshape(-1, 16).sum(axis=1) > 0)[0, 0]
    scale[0, used] *= 2.0**-130
    changed = type(result)(**{**vars(result), "scale": scale})
    other = type(model)(**{**vars(model), "layers": tuple(changed if r is result else r for r in model.layers)})
    with pytest.raises(
        ExportError, match=r"must lie within 2\^127 of each other, but those of conv span 2\^1[23]\d; use float"
    ):
        make_design(other, layer, Folding(1, 16), None)
