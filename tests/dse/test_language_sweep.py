"""A sweep over a language model given by its files: from the YAML to the front, with the metrics that text has."""

import json
import math
import shutil
from io import StringIO
from pathlib import Path

import pytest
import torch
import yaml
from rich.console import Console
from safetensors.torch import save_file

from dse.config import ConfigError, SweepConfig, parse_config
from dse.cost_point import cost_point
from dse.evaluate import Evaluator
from dse.export_point import export_point
from dse.front import reference_box
from dse.objectives import OBJECTIVES, ObjectiveError
from dse.plots import front_figure
from dse.records import RecordError
from dse.report import write_report
from dse.results import load_results
from dse.run import run_sweep
from dse.tables import front_table
from dse.template import render
from hwmodels.errors import BitfrontError
from workloads.checkpoint import CheckpointError
from workloads.llm.decoder import Decoder, DecoderShape
from workloads.llm.tiny_llama import FOLDER
from workloads.registry import HuggingFace

CONFIG = {
    "model_type": "llama",
    "vocab_size": 1024,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    (folder / "small").mkdir()
    (folder / "small" / "config.json").write_text(json.dumps(CONFIG))
    shutil.copy(FOLDER / "tokenizer.json", folder / "small")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        save_file(Decoder(DecoderShape.from_config(CONFIG)).state_dict(), folder / "small" / "model.safetensors")
    (folder / "text.txt").write_text("All the words of a text that is not long but longer than its windows. " * 30)
    return folder


def language_config(files: Path, **changes) -> SweepConfig:
    data = yaml.safe_load(render("tiny-llama", "small"))
    data["workload"] = {"huggingface": str(files / "small"), "text": str(files / "text.txt"), "window": 32}
    data["search"] |= {"trials": 4, "batch": 4, "population": 4, "sampler": "random"}
    data["space"] |= {"weight": ["int4", "e2m1"], "activation": ["int8", "e3m2"], "recipe": ["rtn"]}
    data["space"] |= {"accumulator": ["auto"], "weight_scaling": ["channel"], "activation_scaling": ["tensor"]}
    data["space"] |= {"kv_cache": ["none", "int4"]}
    return parse_config(yaml.safe_dump(data | changes))


@pytest.fixture(scope="module")
def results(files):
    run_sweep(language_config(files, objectives=["kl", "perplexity", "lut"]), files / "results", 1)
    return load_results(files / "results" / "small")


def test_rows_hold_what_text_is_judged_by_and_nothing_else(results):
    measured = [row for row in results.rows if row.status != "refused"]
    assert len(measured) == 6  # float, INT8 and four points
    for row in measured:
        assert row.perplexity == pytest.approx(math.exp(row.loss))
        low, high = row.interval("perplexity")
        assert low < row.perplexity < high
        assert row.top1 is None
        assert row.interval("top1") is None
    reference = measured[0]
    assert (reference.id, reference.kl, reference.flip_rate) == ("float", 0.0, 0.0)
    assert all(row.kl > 0 for row in measured[1:])


def test_recipes_that_prepare_the_network_run_and_cost_what_they_add(files):
    """From the YAML: merged rotations are free, online ones are paid by their blocks, what does not fit is refused."""
    config = language_config(files, name="rotated")
    space = config.space.model_dump() | {"weight": ("int4",), "activation": ("int4",), "kv_cache": ("none",)}
    recipes = ("rtn", "rotate", "hadamard8", "hadamard32", "rotate+hadamard32", "hadamard512")
    data = config.model_dump(mode="json") | {"space": space | {"recipe": recipes}}
    data["search"] |= {"trials": 6, "batch": 6}
    data["rules"] |= {"rotation": "int14"}
    run_sweep(parse_config(yaml.safe_dump(json.loads(json.dumps(data)))), files / "results", 1)
    rows = {row.recipe: row for row in load_results(files / "results" / "rotated").rows if row.id[0].isdigit()}
    assert set(rows) == set(recipes)
    assert {recipe for recipe, row in rows.items() if row.rotation == "int14"} == {r for r in recipes if "had" in r}
    assert rows["hadamard512"].status == "refused"
    assert "hadamard512 must find a dense layer" in rows["hadamard512"].reason
    cost = {recipe: row.lut for recipe, row in rows.items() if row.status != "refused"}
    assert cost["rotate"] == pytest.approx(cost["rtn"], rel=0.05)  # other weights, other widths of their sums
    assert cost["rtn"] < cost["rotate+hadamard32"] < cost["hadamard32"]
    assert cost["rtn"] < cost["hadamard8"]
    assert len({row.kl for row in rows.values()}) == 6


def test_rows_say_what_attention_stores(results):
    caches = {row.kv_cache for row in results.rows if row.status != "reference"}
    assert caches == {"none", "int4"}
    assert {row.kv_cache for row in results.rows if row.id.startswith("int8")} == {"none"}
    assert {row.float_bits for row in results.rows if row.id != "float"} == {16}
    # norms, softmax, rotary positions and gates are fitted to synthesis; what is left is control, parameters and buffers
    assert all(row.uncalibrated_lut_share < 0.35 for row in results.rows if row.lut is not None)
    output = StringIO()
    Console(width=200, file=output).print(front_table("small", results.rows, results.objectives))
    assert ("KV int4/token" in output.getvalue()) == any(row.kv_cache == "int4" for row in results.front)


def test_a_point_is_taken_apart(results, capsys):
    row = next(row for row in results.rows if row.kv_cache == "int4" and row.lut is not None)
    cost_point(results.folder, row.id, json=True)
    document = json.loads(capsys.readouterr().out)
    assert (document["point"], document["kv_cache"]) == (row.id, "int4/token")
    assert document["total"]["lut"] == row.lut
    assert "what is measured in floating point is costed in fixed point of 16 bits, assumed" in document["notes"]
    assert sum(line["lut"] for line in document["lines"]) == pytest.approx(row.lut)
    assert {line["component"] for line in document["lines"]} >= {"KV cache", "softmax", "dynamic scale", "embedding"}
    cost_point(results.folder, next(row.id for row in results.rows if row.id.startswith("int8")), json=False)
    assert "KV cache" in capsys.readouterr().out
    with pytest.raises(RecordError, match="must have a cost to be taken apart, but float is reference"):
        cost_point(results.folder, "float", json=True)


def test_a_network_without_attention_has_no_axis_of_what_it_stores(tmp_path):
    data = yaml.safe_load(render("digits-resnet", "digits"))
    data["space"]["kv_cache"] = ["none", "int8", "int4"]
    with pytest.raises(
        BitfrontError, match=r"space\.kv_cache must be \[none\] for digits-resnet, .* but got int8, int4"
    ) as caught:
        run_sweep(parse_config(yaml.safe_dump(data)), tmp_path, 1)
    assert "\n" not in str(caught.value)


def test_tables_and_figures_show_the_first_quality_with_its_interval(results):
    document, written = write_report(results)
    assert {p.name for p in written} >= {"front.json", "front.png", "points.csv"}
    assert [o["name"] for o in document["objectives"]] == ["kl", "perplexity", "lut"]
    output = StringIO()
    Console(width=160, file=output).print(front_table("small", results.rows, results.objectives))
    shown = output.getvalue()
    assert "perplexity" in shown
    assert format(results.front[0].kl, ".5g") in shown
    axes = front_figure("small", results.rows, results.objectives).axes[0]
    assert axes.get_ylabel().startswith("KL divergence from float (nats per token; bars: 95 % interval")
    assert axes.get_yscale() == "linear"


def test_the_reference_box_begins_where_nothing_is_better(results):
    ideal, worst = reference_box(results.rows, results.objectives)
    assert ideal == (0.0, 1.0, 0.0)
    assert worst[0] == 2.0  # a divergence below a nat counts as one
    assert all(low < high for low, high in zip(ideal, worst, strict=True))


def test_an_objective_that_was_not_measured_is_an_error(results):
    with pytest.raises(ObjectiveError, match="must have the metric 'top1', but it has none"):
        OBJECTIVES["top1"].read(results.rows[1].model_dump())


def test_the_configuration_is_read_back_and_names_the_files(files):
    config = language_config(files)
    assert parse_config(config.as_yaml()) == config
    assert config.workload_ref == HuggingFace(str(files / "small"), str(files / "text.txt"), window=32)
    with pytest.raises(ConfigError, match="it gives cosine, flip_rate and not perplexity"):
        language_config(files, workload=config.workload.model_dump() | {"task": "embed"})


def test_the_manifest_knows_model_and_text_by_their_hashes(results):
    workload = json.loads((results.folder / "manifest.json").read_text())["workload"]
    source = Evaluator.of(results.config).source
    assert workload == {"name": "small", "data_id": source.data_id, "checkpoint_sha256": source.checkpoint_id}
    assert len(set(source.checkpoint_id.split("+"))) == 3


@pytest.mark.parametrize(("exporter", "index"), [("qonnx", -1), ("qcdq", 0)])
def test_a_language_model_is_exported_with_its_perplexity(results, exporter, index):
    chosen = [row.id for row in results.rows if row.metrics and row.id != "float"]
    report = export_point(
        results.folder, chosen[index] if exporter == "qonnx" else "int8.0", exporter, output=None, samples=None
    )
    assert report.equal, report.text()
    assert report.cost_covers == "layers with weights"
    assert report.cost.lut > 0
    assert report.gate.metrics_model["perplexity"] == pytest.approx(report.stored["perplexity"])
    assert report.gate.metrics_exported["perplexity"] == pytest.approx(report.stored["perplexity"], rel=0.01)


def test_a_missing_model_stops_a_sweep_in_one_sentence(files):
    asked = HuggingFace(str(files / "nowhere"), str(files / "text.txt"), window=32)
    with pytest.raises(CheckpointError, match=r"must have a config\.json, but .*nowhere.*No such file") as caught:
        Evaluator(asked).load()
    assert "\n" not in str(caught.value)
