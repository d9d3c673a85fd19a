"""The benchmark of accumulators: its committed table is drawn as it is, and a small run of it gives a whole table."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
import accumulators

ROOT = Path(__file__).parents[1]

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


def test_the_committed_table_has_every_way_at_every_width_and_its_directions() -> None:
    points = accumulators.read(ROOT / "docs" / "accumulators.csv")
    assert {point["way"] for point in points} == WAYS
    top1 = {(point["way"], point["tile"], point["bits"]): point["top1"] for point in points if point["way"] != "naive"}
    for tile in ("none", "64", "32"):
        assert {bits for way, t, bits in top1 if way == "axe" and t == tile} == set(range(8, 17))
        assert top1["saturate", tile, 9] > top1["wrap", tile, 9]
        assert top1["axe", "32", 9] > top1["axe", "none", 9]
