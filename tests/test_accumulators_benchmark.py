"""The benchmark of accumulators: a small run of it gives a whole table and figure."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
import accumulators

WAYS = {"exact", "axe", "saturate", "saturate, serial", "wrap", "naive"}


def test_a_small_run_measures_every_way_and_draws_them(tmp_path: Path) -> None:
    table, figure = tmp_path / "a.csv", tmp_path / "a.png"
    asked = ["--test-images", "40", "--widths", "9-9", "--tiles", "none,32", "--narrowest", "4"]
    assert accumulators.main([*asked, "--csv", str(table), "--figure", str(figure)]) == 0
    points = accumulators.read(table)
    assert {point["way"] for point in points} == WAYS
    assert figure.stat().st_size > 10_000
    by_way = {(point["way"], point["tile"]): point for point in points}
    assert float(by_way["wrap", "none"]["overflow_rate"]) > float(by_way["wrap", "32"]["overflow_rate"])
    assert by_way["saturate", "none"]["top1"] > by_way["wrap", "none"]["top1"]
    assert by_way["exact", "32"]["bits"] < by_way["exact", "none"]["bits"]
    assert by_way["axe", "none"]["overflow_rate"] == ""
