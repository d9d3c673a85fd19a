"""The table of block sizes: the page shows what the file holds, the file what the papers' directions are, the script runs."""

from __future__ import annotations

import csv
import runpy
from pathlib import Path

import pytest

from workloads.recipes import parse_recipe

ROOT = Path(__file__).parents[2]
BENCHMARK = runpy.run_path(str(ROOT / "benchmarks" / "rotations.py"))


def committed() -> list[dict[str, str]]:
    with (ROOT / "docs" / "rotations.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_page_shows_the_file() -> None:
    assert BENCHMARK["tables"](committed()) in (ROOT / "docs" / "rotations.md").read_text()


def test_the_file_has_every_recipe_of_both_workloads() -> None:
    expected = [(workload, recipe) for workload in BENCHMARK["WORKLOADS"] for recipe in BENCHMARK["RECIPES"]]
    assert [(row["workload"], row["recipe"]) for row in committed()] == expected
    assert all(parse_recipe(recipe).name == recipe for recipe in BENCHMARK["RECIPES"])


def test_with_outliers_larger_blocks_recover_more_and_cost_more() -> None:
    found = {row["recipe"]: row for row in committed() if row["workload"] == "tiny-llama-outliers"}
    online = [found[f"hadamard{block}"] for block in BENCHMARK["BLOCKS"]]
    perplexities = [float(row["perplexity"]) for row in online]
    assert perplexities == sorted(perplexities, reverse=True)
    luts = [int(row["rotation_lut"]) for row in online]
    assert luts == sorted(luts)
    for block in ("16", "32", "64"):
        plain, even = (float(found[r]["perplexity"]) for r in BENCHMARK["recipes"](block)[:2])
        assert even < plain
    assert int(found["rotate"]["rotation_lut"]) == 0


def test_the_script_measures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--windows", "2", "--calibration", "2", "--recipes", "hadamard", "--output", str(tmp_path / "x.csv")]
    assert BENCHMARK["main"](arguments) == 0
    printed = capsys.readouterr().out
    assert printed.count("| `hadamard` |") == 2
    assert "| 100% |" in printed
