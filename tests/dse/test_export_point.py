"""A real, small sweep whose points are exported: the file is what was measured, or it is refused by name."""

import json

import pytest
import yaml

from dse.config import parse_config
from dse.evaluate import Evaluator
from dse.export.errors import ExportError
from dse.export_point import export_point
from dse.export_rtl import export_rtl
from dse.onnx_network import read_network
from dse.records import RecordError
from dse.results import load_results
from dse.run import run_sweep
from dse.template import render

DATA = yaml.safe_load(render("digits-resnet", "small")) | {
    "space": {
        "weight": ["int4_narrow", "e2m1"],
        "activation": ["int4", "e2m1"],
        "weight_scaling": ["channel", "group16"],
        "accumulator": ["auto", "12"],
    },
    "search": {"sampler": "random", "trials": 16, "batch": 8},
    "evaluation": {"test_images": 120, "calibration_images": 64},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("export")
    run_sweep(parse_config(yaml.safe_dump(DATA)), root, workers=1)
    return root / "small"


def point(folder, **columns):
    rows = [r for r in load_results(folder).rows if not r.id.startswith(("int8", "float"))]
    return next(r for r in rows if all(getattr(r, name) == value for name, value in columns.items())).id


@pytest.mark.parametrize("weight", ["int4_narrow", "e2m1"])
@pytest.mark.parametrize("scaling", ["channel", "group16"])
def test_a_point_leaves_as_a_file_that_is_equal(folder, tmp_path, weight, scaling):
    chosen = point(folder, weight=weight, activation="e2m1", weight_scaling=scaling, status="ok")
    report = export_point(folder, chosen, "qonnx", output=tmp_path / "x.onnx", samples=None)
    assert report.equal
    assert report.gate.mismatching_outputs == 0
    assert report.gate.samples == 120
    top1 = report.stored["top1"]
    assert report.gate.metrics_exported["top1"] == report.gate.metrics_model["top1"] == top1
    assert report.cost == report.cost_from_file
    assert (tmp_path / "x.gate.json").is_file()
    assert len(read_network(tmp_path / "x.onnx")[0].compute) > 5


def test_the_int8_reference_and_the_knee_can_be_exported(folder):
    assert export_point(folder, "int8.0", "qcdq", output=None, samples=20).equal
    assert export_point(folder, "knee", "qonnx", output=None, samples=20).equal
    assert sorted(p.name for p in (folder / "exports").glob("*.onnx"))[-1] == "int8.0.qcdq.onnx"


def test_what_an_exporter_does_not_have_is_refused_with_what_it_has(folder, tmp_path):
    chosen = point(folder, weight="e2m1", weight_scaling="channel", status="ok")
    with pytest.raises(ExportError, match=r"qcdq holds integers of up to 8 bits.*use --to qonnx"):
        export_point(folder, chosen, "qcdq", output=tmp_path / "x.onnx", samples=5)
    assert not (tmp_path / "x.onnx").exists()


@pytest.mark.parametrize("name", ["study.db", "design.json", "design", "."])
def test_only_a_file_that_ends_in_onnx_is_written(folder, name):
    before = {p.name: p.stat().st_mtime_ns for p in folder.iterdir()}
    with pytest.raises(ExportError, match=r"must end in \.onnx, but got"):
        export_point(folder, "knee", "qonnx", output=folder / name, samples=5)
    assert {p.name: p.stat().st_mtime_ns for p in folder.iterdir()} == before


@pytest.mark.parametrize("weight", ["int4_narrow", "e2m1"])
def test_a_point_leaves_as_its_datapath(folder, tmp_path, weight):
    chosen = point(folder, weight=weight, activation="e2m1", weight_scaling="group16", status="ok")
    layer = Evaluator.of(load_results(folder).config).plan.layers[1].name
    report = export_rtl(folder, chosen, tmp_path / "design", layer=layer, samples=2, vectors=2)
    assert report.equal
    assert [each.layer for each in report.layers] == [layer]
    assert (tmp_path / "design" / "Makefile").is_file()
    with pytest.raises(ExportError, match=r"a layer must be one of .*, but got 'nowhere'"):
        export_rtl(folder, chosen, tmp_path / "design", layer="nowhere")


def test_a_run_leaves_the_front_as_tables(folder):
    document = json.loads((folder / "front.json").read_text())
    assert [row["id"] for row in document["front"]] == [row.id for row in load_results(folder).front]
    assert (folder / "front.csv").read_text().count("\n") == len(document["front"]) + 1


def test_a_refused_point_is_not_exported(folder):
    chosen = point(folder, accumulator="12", status="refused")
    with pytest.raises(RecordError, match=rf"but {chosen} is refused: layer .* needs an accumulator of"):
        export_point(folder, chosen, "qonnx", output=None, samples=5)


def test_a_row_that_the_configuration_does_not_describe_is_refused(folder):
    text = (folder / "config.yaml").read_text()
    chosen = point(folder, status="ok")
    try:
        (folder / "config.yaml").write_text(text.replace("edge: int8", "edge: int6"))
        with pytest.raises(RecordError, match="its keys differ"):
            export_point(folder, chosen, "qonnx", output=None, samples=5)
    finally:
        (folder / "config.yaml").write_text(text)
