"""The folder for FINN: the network unchanged, FINN's rules kept, and the nodes that a real FINN made, by name and figures.

The golden nodes were recorded by `benchmarks/finn_check.py` from finn-plus 1.6.1's estimate-only flow on the folders that the
very functions under test wrote.
"""

import importlib.util
import json
import sys
from functools import cache
from itertools import zip_longest
from pathlib import Path

import numpy as np
import onnx
import pytest
import yaml
from export_models import edited, images, node, quantized
from typer.testing import CliRunner

from dse.cli import app
from dse.config import parse_config
from dse.export.errors import ExportError
from dse.export.formats import check_exportable
from dse.export.qonnx import export_qonnx
from dse.finn.adapt import CLASS, adapt
from dse.finn.classes import mismatching_classes
from dse.finn.export import complete, export_finn
from dse.finn.folder import BOARDS, MODEL, NETWORK
from dse.finn.preflight import preflight
from dse.point import Hardware
from dse.results import load_results
from dse.run import run_sweep
from dse.template import render
from hwmodels.datapath import Multiplier
from hwmodels.devices import DEVICES

ROOT = Path(__file__).parents[2]
GOLDEN = json.loads((ROOT / "tests" / "golden" / "finn" / "nodes_finn-plus_1.6.1.json").read_text())
HARDWARE = Hardware("XCZU3EG", target_fps=1000, clock_mhz=100)


@cache
def finn_check():
    """The script that runs FINN, for the networks that it checks."""
    spec = importlib.util.spec_from_file_location("finn_check", ROOT / "benchmarks" / "finn_check.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def network(folder, weight="int4_narrow", activation="int4", scaling="channel"):
    folder.mkdir(exist_ok=True)
    export_qonnx(quantized(weight, activation, scaling), images()[:1], folder / NETWORK, name="small")
    return folder


def load(folder, name):
    return json.loads((folder / name).read_text())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = network(tmp_path_factory.mktemp("finn") / "small")
    complete(made, HARDWARE, title="small")
    return made


def test_the_adapted_network_keeps_finns_rules_and_says_the_same_classes(folder):
    assert preflight(folder / MODEL).passes
    assert not preflight(folder / NETWORK).passes  # unsigned quantizers without a ReLU
    onnx.checker.check_model(onnx.load(folder / MODEL))
    assert [value.name for value in onnx.load(folder / MODEL).graph.output] == [CLASS]
    assert mismatching_classes(folder / NETWORK, folder / MODEL, images().numpy()) == 0


def test_a_file_that_says_other_classes_is_found(folder, tmp_path):
    damaged = edited(
        folder / MODEL,
        tmp_path / "x.onnx",
        lambda m: node(m, "topk").attribute.append(onnx.helper.make_attribute("largest", 0)),
    )
    assert mismatching_classes(folder / NETWORK, damaged, images().numpy()) == len(images())


def test_adapting_puts_standard_operators_first_and_changes_nothing_given(folder):
    source = onnx.load(folder / NETWORK)
    source.opset_import.append(source.opset_import.pop(0))
    before = source.SerializeToString()
    assert next(entry.domain for entry in adapt(source).opset_import) == ""
    assert source.SerializeToString() == before


@pytest.mark.parametrize("name", list(GOLDEN["networks"]))
def test_names_foldings_and_cycles_are_those_of_finn(name, tmp_path):
    """What the export says before FINN is started, against what FINN then made of it."""
    nodes = finn_check().export(name, tmp_path).nodes
    recorded = GOLDEN["networks"][name]
    assert [n.name for n in nodes] == [r["name"] for r in recorded]
    folding, early = load(tmp_path, "folding_config.json"), load(tmp_path, "specialize_layers_config.json")
    assert list(folding) == ["Defaults", *(r["name"] for r in recorded)]
    assert len(early) == len(folding)
    shapes = load(tmp_path, "nodes.json")
    for made, found in zip(nodes, recorded, strict=True):
        assert made.unit.cycles() == found["cycles"]
        for key in {"PE", "SIMD"} & found.keys():
            assert folding[made.name][key] == found[key]
        for key in {"MW", "MH", "Channels", "NumChannels"} & found.keys() & shapes[made.name].keys():
            assert shapes[made.name][key] == found[key]
        if not made.name.startswith(
            "Thresholding"
        ):  # their widths depend on the scales, which the export does not look at
            figures = made.unit.resources()
            assert (figures.lut, figures.bram18, figures.uram, figures.dsp) == tuple(
                found[key] for key in ("LUT", "BRAM_18K", "URAM", "DSP")
            )


def test_every_recorded_figure_is_named_with_its_tool():
    assert GOLDEN["tool"] == finn_check().TOOL == "finn-plus 1.6.1"
    assert set(GOLDEN["networks"]) == set(finn_check().NETWORKS)
    report = (ROOT / "docs" / "finn-check.md").read_text()
    for recorded in GOLDEN["networks"].values():
        assert all(f"| {r['name']} |" in report for r in recorded)


def test_styles_are_under_the_names_before_specialization(folder):
    styles = load(folder, "specialize_layers_config.json")
    assert styles["MVAU_3"] == {"preferred_impl_style": "hls"}  # LUT multipliers: no DSP slices
    assert styles["Thresholding_0"] == {"preferred_impl_style": "rtl"}
    assert "MVAU_hls_0" not in styles


def test_dsp_multipliers_and_memories_reach_the_folding(tmp_path):
    made = network(tmp_path / "dsp")
    asked = Hardware("XCZU7EV", target_fps=1000, clock_mhz=100, multiplier=Multiplier.DSP, memory="lutram")
    complete(made, asked, title="small")
    folding = load(made, "folding_config.json")
    assert folding["MVAU_hls_0"]["resType"] == "dsp"
    assert folding["MVAU_hls_0"]["ram_style"] == "distributed"
    assert "MVAU_rtl_0" in folding  # the head has no thresholds inside, so FINN's RTL unit takes it
    assert load(made, "build.json")["board"] == "ZCU104"


def test_finns_own_folding_is_taken_where_finns_model_is_asked_for(tmp_path):
    made = network(tmp_path / "finn")
    nodes = complete(made, Hardware("XCZU3EG", target_fps=1000, clock_mhz=100, model="finn"), title="small").nodes
    assert max(n.unit.cycles() for n in nodes) < 100_000
    assert nodes[-1].name == "MVAU_rtl_0"


def test_the_folder_says_what_it_is(folder):
    build = load(folder, "build.json")
    assert (build["part"], build["clock_period_ns"], build["target_fps"]) == ("xczu3eg-sbva484-1-e", 10.0, 1000)
    for key in ("model", "folding_config_file", "specialize_layers_config_file", "nodes_file"):
        assert (folder / build[key]).is_file()
    script = (folder / "build_dataflow.py").read_text()
    compile(script, "build_dataflow.py", "exec")
    assert "import dse" not in script
    assert "from dse" not in script
    guide = (folder / "README.md").read_text()
    assert all(f"`{path.name}`" in guide for path in folder.iterdir() if path.suffix in (".json", ".onnx"))


def test_every_part_has_a_board():
    assert set(BOARDS) == set(DEVICES)


SPACE = yaml.safe_load((ROOT / "sweeps" / "digits.yaml").read_text())["space"]
WEIGHTS = [name for name in SPACE["weight"] if name.startswith("int")]
ACTIVATIONS = [name for name in SPACE["activation"] if name.startswith("int")]


@pytest.mark.parametrize("scaling", ["channel", "channel_po2"])
@pytest.mark.parametrize("pair", list(zip_longest(WEIGHTS, ACTIVATIONS, fillvalue="int4")), ids="-".join)
def test_integers_of_the_default_sweep_pass_the_preflight(pair, scaling, tmp_path):
    made = complete(network(tmp_path / "x", *pair, scaling), HARDWARE, title="x")
    assert made.preflight.passes
    advice = {finding.rule for finding in made.preflight.findings}
    assert advice <= {"narrow-weights", "last-scale"}  # the 8-bit edges are not narrow; the head has scales and a bias


def test_a_network_that_breaks_a_rule_is_refused_with_the_rule(tmp_path):
    made = tmp_path / "grouped"
    made.mkdir()
    export_qonnx(quantized("int4", "int4", "group8"), images()[:1], made / NETWORK, name="small")
    with pytest.raises(
        ExportError, match=r"FINN must take .*but it breaks its rules\. Quant node .*one per output channel"
    ):
        complete(made, HARDWARE, title="grouped")
    assert not (made / "folding_config.json").exists()


@pytest.mark.parametrize(
    ("weight", "activation", "scaling"),
    [("e2m1", "int4", "channel"), ("int4", "e2m1", "channel"), ("int4", "int4", "group8")],
)
def test_other_formats_are_refused_before_anything_is_written(weight, activation, scaling):
    with pytest.raises(ExportError, match=r"finn holds integers of up to 8 bits.*use --to qonnx"):
        check_exportable(quantized(weight, activation, scaling).numerics, "finn")


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    """A sweep of integer points of the default sweep's workload and rules."""
    root = tmp_path_factory.mktemp("sweep")
    data = yaml.safe_load(render("digits-resnet", "small"))
    data["space"] |= {
        "weight": ["int3_narrow", "int8_narrow"],
        "activation": ["int5"],
        "weight_scaling": ["channel", "channel_po2"],
        "recipe": ["rtn"],
        "accumulator": ["auto"],
    }
    data["search"] = {"sampler": "random", "trials": 2, "batch": 2}
    data["evaluation"] = {"test_images": 60, "calibration_images": 32}
    run_sweep(parse_config(yaml.safe_dump(data)), root, workers=1)
    return root / "small"


def test_points_of_a_sweep_leave_as_folders_that_are_equal(sweep, tmp_path):
    for row in [r for r in load_results(sweep).rows if r.status == "ok" and not r.id.startswith("float")]:
        made = export_finn(sweep, row.id, output=tmp_path / row.id, samples=20)
        assert made.equal
        assert made.mismatching_classes == 0
        assert made.network.cost_equal
        assert made.preflight.passes
        assert load(tmp_path / row.id, "gate.json")["equal"] is True


def test_the_command_exports_the_knee_and_prints_json(sweep):
    done = CliRunner().invoke(
        app, ["export", str(sweep), "--point", "knee", "--to", "finn", "--samples", "5", "--json"]
    )
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert report["equal"] is True
    assert report["classes"] == {"file": MODEL, "sha256": report["classes"]["sha256"], "samples": 5, "mismatching": 0}
    assert Path(report["folder"]).parent == sweep / "exports"
    assert preflight(Path(report["folder"]) / MODEL).passes
    assert np.isin(report["nodes"], list(load(Path(report["folder"]), "folding_config.json"))).all()


def test_a_file_in_the_way_is_a_sentence(sweep, tmp_path):
    (tmp_path / "x").write_text("")
    with pytest.raises(ExportError, match="--to finn must write a folder, but"):
        export_finn(sweep, "knee", output=tmp_path / "x", samples=5)
