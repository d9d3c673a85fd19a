"""Tables, fronts and figures of a sweep: what they show is what the store holds."""

import json

import numpy as np
import pandas as pd
import pytest
from fake_sweep import FakeExecutor, fake_config, layer_names, run_fake
from matplotlib.figure import Figure

from dse.front import front_rows
from dse.objectives import OBJECTIVES
from dse.plots import _pair, axes_figure, front_figure, save
from dse.records import RecordError
from dse.report import write_report
from dse.results import load_results
from dse.tables import find_knee

ONE = {
    "weight": "int4",
    "activation": "int4",
    "weight_scaling": "channel",
    "activation_scaling": "tensor",
    "recipe": "rtn",
    "accumulator": "auto",
}
"""One choice per axis."""


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report") / "x"
    run_fake(folder, fake_config(30), FakeExecutor(layer_names()))
    return load_results(folder)


def test_the_front_document_and_its_tables_agree(results):
    document, written = write_report(results)
    assert {p.name for p in written} == {
        *("front.json", "front.csv", "points.csv", "points.parquet"),
        *("front.png", "front.svg", "axes.png", "axes.svg"),
    }
    assert all(p.stat().st_size > 0 for p in written)
    assert json.loads((results.folder / "front.json").read_text()) == document
    ids = [row["id"] for row in document["front"]]
    assert ids == [row.id for row in results.front]
    assert document["knee"] in ids
    assert pd.read_csv(results.folder / "front.csv")["id"].astype(str).tolist() == ids
    points = pd.read_csv(results.folder / "points.csv", dtype={"id": str})
    assert points["id"].tolist() == [row.id for row in results.rows]
    assert pd.read_parquet(results.folder / "points.parquet")["id"].tolist() == points["id"].tolist()
    assert sum(document["counts"].values()) == len(results.rows)


def test_no_point_of_the_table_dominates_one_of_the_front(results):
    feasible = [r for r in results.rows if r.status == "ok"]
    for on in results.front:
        assert not any(r.top1 >= on.top1 and r.lut <= on.lut and (r.top1, r.lut) != (on.top1, on.lut) for r in feasible)


def test_the_figure_steps_through_the_front_and_shows_every_point(results):
    axes = front_figure("x", results.rows, results.objectives).axes[0]
    step = next(line for line in axes.lines if str(line.get_label()).startswith("Pareto front"))
    front = sorted(results.front, key=lambda r: r.lut)
    assert np.allclose(step.get_xdata(), [r.lut for r in front])
    assert np.allclose(step.get_ydata(), [r.top1 for r in front])
    assert step.get_drawstyle() == "steps-post"
    labelled = [c for c in axes.collections if "(" in str(c.get_label())]
    assert sum(len(c.get_offsets()) for c in labelled) == sum(r.status == "ok" for r in results.rows)
    looks = {(tuple(c.get_facecolor()[0][:3]), c.get_paths()[0].vertices.tobytes()) for c in labelled}
    assert len(looks) == len(labelled)  # every family has a colour and a marker of its own


def test_the_figure_of_the_axes_shows_the_least_cost_close_to_int8(results):
    figure = axes_figure("x", results.rows, results.objectives)
    panel = next(a for a in figure.axes if a.get_title() == "weight")
    int8 = next(r for r in results.rows if r.id == "int8.0")
    least = {}
    for row in results.rows:
        if row.status == "ok" and not row.id.startswith("int8.") and row.top1 >= 0.99 * int8.top1:
            least[row.weight] = min(row.lut, least.get(row.weight, np.inf))
    labels = [text.get_text().split(" ")[0] for text in panel.get_yticklabels()]
    shown = {name: bar.get_width() for name, bar in zip(labels, panel.patches, strict=True)}
    assert {n: w for n, w in shown.items() if w} == pytest.approx(least)


def test_equal_results_give_equal_figures(results, tmp_path):
    for name in ("a.svg", "b.svg"):
        save(front_figure("x", results.rows, results.objectives), tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_the_knee_is_on_the_front(results):
    assert find_knee(results.front, results.objectives) in front_rows(results.rows, results.objectives)


def test_a_sweep_in_which_nothing_fits_says_so_and_keeps_its_table(tmp_path):
    folder = tmp_path / "x"
    run_fake(folder, fake_config(4, hardware={"utilization": 0.01}), FakeExecutor(layer_names()))
    with pytest.raises(RecordError, match=r"needs at least one measured point that fits its part.*the design must fit"):
        write_report(load_results(folder))
    assert len(pd.read_csv(folder / "points.csv")) > 4


@pytest.mark.parametrize(
    "changes",
    [
        {"hardware": {"utilization": 0.2}},  # the INT8 reference does not fit, smaller points do
        {
            "space": {a: [v] for a, v in ONE.items()},
            "hardware": {"device": ["XCZU3EG", "XCZU7EV"], "multiplier": "lut"},
        },  # one numerics point
    ],
)
def test_a_front_without_axes_to_compare_has_no_figure_of_them(tmp_path, changes):
    folder = tmp_path / "x"
    run_fake(folder, fake_config(24, **changes), FakeExecutor(layer_names()))
    document, written = write_report(load_results(folder))
    assert document["front"]
    assert "front.png" in {p.name for p in written}
    assert "axes.png" not in {p.name for p in written}


def test_figures_show_the_first_quality_whatever_stands_before_it():
    config = fake_config().model_copy(update={"objectives": ("weight_bits", "top1", "lut")})
    assert [o.name for o in _pair([OBJECTIVES[o] for o in config.objectives])] == ["top1", "lut"]


def test_the_knee_of_the_figure_is_the_one_of_the_table(results):
    three = [OBJECTIVES[o] for o in ("top1", "lut", "bram18")]
    knees = {find_knee(front_rows(results.rows, o), o).id for o in (three, results.objectives)}
    assert len(knees) == 2  # so that the figure has to choose
    for objectives in (three, results.objectives):
        axes = front_figure("x", results.rows, objectives).axes[0]
        marked = [text.get_text() for text in axes.texts if text.get_text().endswith("(knee)")]
        assert [text.split(":")[0] for text in marked] == [
            find_knee(front_rows(results.rows, objectives), objectives).id
        ]


def test_a_figure_that_is_not_finished_leaves_nothing(tmp_path):
    class Killed(Figure):
        def savefig(self, *_args, **_settings):
            assert not list(tmp_path.iterdir())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        save(Killed(), tmp_path / "front.png")


def test_a_figure_of_an_unknown_kind_is_refused(results, tmp_path):
    with pytest.raises(RecordError, match=r"must end in \.png, \.svg, \.pdf"):
        save(front_figure("x", results.rows, results.objectives), tmp_path / "front.bmp")


def test_a_point_is_found_by_its_id_or_the_front_is_named(results):
    assert results.row("0.0").id == "0.0"
    with pytest.raises(RecordError, match=f"on its front: {results.front[0].id}"):
        results.row("nonsense")
