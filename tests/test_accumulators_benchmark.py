"""The benchmark of accumulators: a small run gives a whole table and figure, and the committed table has the directions."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
import accumulators

ROOT = Path(__file__).parents[1]
WAYS = {"exact", "axe", "saturate", "saturate, serial", "wrap", "naive"}


def test_a_small_run_measures_every_way_and_draws_them(tmp_path: Path) -> None:
    table, figure = tmp_path / "a.csv", tmp_path / "a.png"
    asked = ["--test-images", "40", "--widths", "9-9", "--tiles", "none,32", "--narrowest", "5"]
    assert accumulators.main([*asked, "--csv", str(table), "--figure", str(figure)]) == 0
    points = accumulators.read(table)
    assert {point["way"] for point in points} == WAYS
    assert figure.stat().st_size > 10_000
    by_way = {(point["way"], point["tile"]): point for point in points}
    assert float(by_way["wrap", "none"]["overflow_rate"]) > float(by_way["wrap", "32"]["overflow_rate"])
    assert by_way["saturate", "none"]["top1"] > by_way["wrap", "none"]["top1"]
    assert by_way["exact", "32"]["bits"] < by_way["exact", "none"]["bits"]
    assert by_way["axe", "none"]["overflow_rate"] == ""


def test_the_committed_table_is_whole_and_has_its_directions() -> None:
    points = accumulators.read(ROOT / "docs" / "accumulators.csv")
    assert {point["way"] for point in points} == WAYS
    mine = [p for p in points if (p["weight"], p["activation"]) == ("int4", "int4")]
    top1 = {(point["way"], point["tile"], point["bits"]): point["top1"] for point in mine}
    for tile in ("none", "64", "32"):
        for way in ("axe", "saturate", "wrap"):
            assert {bits for name, t, bits in top1 if (name, t) == (way, tile)} == set(range(8, 17))
        assert top1["saturate", tile, 9] > top1["wrap", tile, 9] > top1["axe", tile, 9]
    assert top1["axe", "32", 11] > top1["axe", "64", 11] > top1["axe", "none", 11]
