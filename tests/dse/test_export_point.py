"""A real, small sweep whose points are exported: the file is what was measured, or it is refused by name."""

import hashlib
import json
import shutil
from functools import reduce
from operator import getitem

import numpy as np
import onnx
import pytest
import yaml
from typer.testing import CliRunner

from dse.bundle import PARTS, export_bundle
from dse.bundle_check import verify_bundle
from dse.cli import app
from dse.config import parse_config
from dse.evaluate import Evaluator
from dse.export.errors import ExportError
from dse.export_point import export_point, verify_file
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


def edit(source, target, change):
    """A damaged copy of an ONNX file."""
    proto = onnx.load(source)
    change(proto)
    target.write_bytes(proto.SerializeToString())
    return target


def test_a_file_is_verified_later_and_the_first_differing_node_of_a_damaged_one_is_named(folder, tmp_path):
    chosen = point(folder, weight="e2m1", activation="int4", weight_scaling="channel", status="ok")
    export_point(folder, chosen, "qonnx", output=tmp_path / "x.onnx", samples=20)
    assert verify_file(tmp_path / "x.onnx", folder, chosen, 20).equal

    def change(proto):
        bias = next(t for t in proto.graph.initializer if t.name == "block2.conv2.bias")
        bias.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(bias) + np.float32(0.01), bias.name))

    report = verify_file(edit(tmp_path / "x.onnx", tmp_path / "y.onnx", change), folder, chosen, 20)
    assert not report.equal
    assert report.gate.first_difference.startswith("block2.conv2 (node 'block2.conv2.with_bias', Add): off by 0.01")
    assert report.cost_equal  # a bias costs nothing
    asked = ["verify", str(tmp_path / "y.onnx"), "--against", str(folder), "--point", chosen, "--samples", "5"]
    run = CliRunner().invoke(app, asked)
    assert run.exit_code == 1
    assert "NOT EQUAL: the file is not what was measured" in run.stdout

    other = point(folder, weight="int4_narrow", activation="int4", weight_scaling="channel", status="ok")
    assert not verify_file(tmp_path / "x.onnx", folder, other, 5).equal  # another point


def test_verify_says_what_it_needs(tmp_path):
    (tmp_path / "x.onnx").write_bytes(b"no")
    run = CliRunner().invoke(app, ["verify", str(tmp_path / "x.onnx")])
    assert "a file must be verified against a point" in str(run.exception)
    run = CliRunner().invoke(app, ["verify", str(tmp_path), "--point", "knee"])
    assert "a bundle must be verified by itself" in str(run.exception)
    with pytest.raises(ExportError, match=r"must be a design bundle, but it has no bundle\.json"):
        verify_bundle(tmp_path)


@pytest.fixture(scope="module")
def bundle(folder):
    chosen = point(folder, weight="int4_narrow", activation="int4", weight_scaling="channel", status="ok")
    made = export_bundle(folder, chosen, output=None, samples=10)
    assert made.equal
    assert set(made.parts) == set(PARTS)
    return made


@pytest.fixture
def travelled(bundle, tmp_path):
    """A copy of it elsewhere."""
    return shutil.copytree(bundle.folder, tmp_path / "elsewhere")


def test_a_bundle_is_verified_without_its_sweep(travelled, bundle):
    checked = verify_bundle(travelled)
    assert checked.equal, checked
    assert set(checked.executed) == {"design.qonnx.onnx", "design.qcdq.onnx"}
    assert all("0 of 16 outputs mismatch" in text for text in checked.executed.values())
    cost = json.loads((travelled / "cost.json").read_text())
    assert cost["total"]["lut"] == bundle.parts["qonnx"].report["cost"]["lut"] > 0
    text = (travelled / "README.md").read_text()
    assert all(name in text for name in ("design.qonnx.onnx", "cost.txt", "samples.npz", "gate.json", "config.yaml"))
    assert f"{cost['total']['lut']:,.0f} LUT" in checked.cost
    assert checked.cost.endswith("as recorded")


def test_a_bundle_names_no_folder_that_it_was_made_in(bundle, folder):
    files = [path for path in bundle.folder.rglob("*") if path.is_file()]
    assert len([path for path in files if path.name == "gate.json"]) == 2  # its own and FINN's
    assert [path.name for path in files if str(folder).encode() in path.read_bytes()] == []


@pytest.mark.parametrize(
    ("name", "place", "value", "differing"),
    [
        ("gate.json", ("qonnx", "cost_from_file", "lut"), 1.0, "lut"),
        ("cost.json", ("total", "bram18"), None, "bram18"),
        ("cost.json", ("hardware", "target_fps"), 20_000.0, "lut, "),
    ],
)
def test_a_bundle_that_costs_something_else_than_it_says_is_not_equal(travelled, name, place, value, differing):
    document = json.loads((travelled / name).read_text())
    *path, last = place
    reduce(getitem, path, document)[last] = value
    (travelled / name).write_text(json.dumps(document))
    relisted(travelled, name)
    checked = verify_bundle(travelled)
    assert checked.wrong == ("design.qonnx.onnx does not cost what is recorded",)
    assert f"; recorded are others: {differing}" in checked.cost


@pytest.mark.parametrize(
    "text", ["{}", "[]", "no", '{"hardware": {"device": ["XCZU3EG", "XC7Z020"]}}', '{"hardware": {"a": 1}}']
)
def test_a_bundle_that_does_not_say_what_it_was_costed_for_is_refused(travelled, text):
    (travelled / "cost.json").write_text(text)
    relisted(travelled, "cost.json")
    with pytest.raises(
        ExportError, match=r"must say in cost\.json and gate\.json on what hardware|must be a page of JSON"
    ):
        verify_bundle(travelled)


def test_a_changed_or_missing_file_of_a_bundle_is_named(travelled):
    (travelled / "cost.txt").write_text("nothing")
    (travelled / "point.json").unlink()
    checked = verify_bundle(travelled)
    assert checked.wrong == ("cost.txt has changed", "point.json is missing")
    assert not checked.equal


def test_a_bundle_whose_file_computes_something_else_is_not_equal(travelled):
    def change(proto):
        head = next(t for t in proto.graph.initializer if t.name == "head.bias")
        other = -9 * onnx.numpy_helper.to_array(head) + np.arange(10, dtype=np.float32)
        head.CopyFrom(onnx.numpy_helper.from_array(other, head.name))

    edit(travelled / "design.qonnx.onnx", travelled / "design.qonnx.onnx", change)
    relisted(travelled, "design.qonnx.onnx")
    checked = verify_bundle(travelled)
    assert checked.wrong == ("design.qonnx.onnx does not give the stored outputs",)


def relisted(bundle, name):
    """Give a file of a bundle the hash that it has now, as a liar would."""
    document = json.loads((bundle / "bundle.json").read_text())
    document["files"][name] = hashlib.sha256((bundle / name).read_bytes()).hexdigest()
    (bundle / "bundle.json").write_text(json.dumps(document))


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "a/../../b", "..", "a\\b", ""])
def test_a_bundle_lists_no_path_out_of_its_folder(travelled, name):
    document = json.loads((travelled / "bundle.json").read_text())
    document["files"][name] = "0" * 64
    (travelled / "bundle.json").write_text(json.dumps(document))
    with pytest.raises(ExportError, match="the files of a bundle must lie in its folder"):
        verify_bundle(travelled)


def test_links_and_pickles_in_a_bundle_are_refused(travelled, tmp_path):
    (tmp_path / "secret").write_text("secret")
    (travelled / "cost.txt").unlink()
    (travelled / "cost.txt").symlink_to(tmp_path / "secret")
    assert "cost.txt is a link" in verify_bundle(travelled).wrong
    (travelled / "cost.txt").unlink()
    (travelled / "cost.txt").write_text("x")
    relisted(travelled, "cost.txt")
    np.savez(travelled / "samples.npz", inputs=np.array([{}], dtype=object), outputs=np.zeros(1, np.float32))
    relisted(travelled, "samples.npz")
    with pytest.raises(ExportError, match="must hold inputs and outputs as NumPy stores them"):
        verify_bundle(travelled)


def test_a_bundle_is_written_into_a_folder_of_its_own(folder, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ExportError, match="the folder of a bundle must be new or empty"):
        export_bundle(folder, "knee", output=tmp_path, samples=5)


def test_a_part_that_cannot_hold_the_point_is_left_out_with_its_reason(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("dse.bundle.PARTS", {name: part for name, part in PARTS.items() if name != "rtl"})  # it can
    chosen = point(folder, weight="e2m1", activation="e2m1", weight_scaling="group16", status="ok")
    made = export_bundle(folder, chosen, output=tmp_path / "b", samples=5)
    assert "qcdq holds integers" in made.left_out["qcdq"]
    assert "No qcdq: qcdq holds integers" in (tmp_path / "b" / "README.md").read_text()
    assert verify_bundle(tmp_path / "b").equal
