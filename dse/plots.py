"""The figures of a sweep, PNG and SVG: the front over every point, and what each choice of each axis buys."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dse.front import feasible_losses, front_rows, reference_box
from dse.objectives import Objective
from dse.pareto import hypervolume
from dse.point import FAMILIES
from dse.records import RecordError, Row, atomic
from dse.space import AXES
from dse.tables import find_knee

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Look:
    """Colour and marker of a family: told apart by both, so that a print in grey still works."""

    colour: str
    marker: str


# Okabe-Ito colours: distinct under the common colour vision deficiencies
LOOKS = dict(
    zip(
        FAMILIES,
        (Look("#0072B2", "o"), Look("#D55E00", "^"), Look("#009E73", "D"), Look("#56B4E9", "s"), Look("#E69F00", "v")),
        strict=True,
    )
)
_ACCURACY_TICKS = (0.1, 0.2, 0.3, 0.5, 0.7, 0.8, 0.85, 0.9, 0.92, 0.94, 0.95, 0.96, 0.97, 0.98, 0.99, 0.995, 0.999)
SUFFIXES = (".png", ".svg", ".pdf")


def front_figure(name: str, rows: Sequence[Row], objectives: Sequence[Objective]) -> Figure:
    """The first quality over the first cost: every point, the front as steps, sampling error bars, the references.

    Raises:
        RecordError: no point was measured that fits.
    """
    from matplotlib.figure import Figure

    quality = next(o for o in objectives if not o.is_cost)
    cost = next(o for o in objectives if o.is_cost)
    pair = [quality, cost]
    feasible, _ = feasible_losses(rows, pair)
    if not feasible:
        raise RecordError(
            f"a figure of {name} needs at least one measured point that fits its part, but there is none."
        )
    figure = Figure(figsize=(9, 5.6), layout="constrained")
    axes = figure.add_subplot()
    for family, look in LOOKS.items():
        members = [r for r in feasible if r.family == family]
        if members:
            x, y = [cost.read(r.model_dump()) for r in members], [quality.read(r.model_dump()) for r in members]
            axes.scatter(
                x,
                y,
                s=26,
                c=look.colour,
                marker=look.marker,
                alpha=0.55,
                linewidths=0,
                label=f"{family} ({len(members)})",
            )
    on_front = sorted(front_rows(rows, pair), key=lambda r: cost.read(r.model_dump()))
    x, y = [cost.read(r.model_dump()) for r in on_front], [quality.read(r.model_dump()) for r in on_front]
    axes.step(x, y, where="post", color="black", linewidth=1.2, label=f"Pareto front ({len(on_front)})", zorder=3)
    for r, px, py in zip(on_front, x, y, strict=True):
        look = LOOKS[r.family]
        axes.scatter([px], [py], s=60, c=look.colour, marker=look.marker, edgecolors="black", linewidths=1, zorder=5)
        if quality.name == "top1" and r.top1_low is not None and r.top1_high is not None:
            axes.errorbar(
                [px],
                [py],
                yerr=[[py - r.top1_low], [r.top1_high - py]],
                color="black",
                linewidth=0.8,
                capsize=2,
                zorder=4,
            )
    _references(axes, rows, quality, cost)
    _labels(axes, on_front, pair)
    samples = feasible[0].samples
    axes.set_xlabel(f"{cost.label} ({cost.unit}; {_model_note(on_front)})")
    bars = f"; bars: 95 % interval of {samples} test images" if quality.name == "top1" else ""
    axes.set_ylabel(f"{quality.label} ({quality.unit}{bars})", fontsize=9)
    axes.set_title(
        f"{name}: {len(feasible)} measured points on {', '.join(sorted({r.device or '' for r in feasible}))}"
    )
    if quality.name == "top1":
        # half the error is as far as half the error again: the differences that matter lie close to the float accuracy
        axes.set_yscale("logit", nonpositive="clip")
        axes.set_yticks([t for t in _ACCURACY_TICKS if axes.get_ylim()[0] <= t <= axes.get_ylim()[1]])
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.yaxis.set_minor_formatter(lambda value, _: "")
    if x[0] > 0 and max(cost.read(r.model_dump()) for r in feasible) > 10 * x[0]:
        axes.set_xscale("log")
    axes.xaxis.set_major_formatter(_thousands)
    axes.grid(alpha=0.25, which="both")
    axes.legend(loc="lower right", fontsize=8)
    return figure


def axes_figure(name: str, rows: Sequence[Row], objectives: Sequence[Objective]) -> Figure:
    """What each choice of each axis buys: the share of the front's hypervolume that is left with this choice alone, and
    what the front loses without it.

    Raises:
        RecordError: no point was measured that fits, or the INT8 reference is missing.
    """
    from matplotlib.figure import Figure

    box = reference_box(rows, objectives)
    searched = [r for r in rows if not r.id.startswith("int8.")]
    feasible, vectors = feasible_losses(searched, objectives)
    whole = hypervolume(vectors, box[1]) if box else 0.0
    if box is None or whole == 0.0:
        raise RecordError(
            f"a figure of the axes of {name} needs the INT8 reference and a point better than it, but one is missing."
        )
    columns = [*AXES, "multiplier"]
    choices = {a: sorted({str(getattr(r, a)) for r in feasible}) for a in columns}
    choices = {a: names for a, names in choices.items() if len(names) > 1}
    shown = list(choices)
    if not shown:
        raise RecordError(f"a figure of the axes of {name} needs an axis with two measured choices, but there is none.")
    figure = Figure(
        figsize=(12, 1.2 + 0.2 * max(map(len, choices.values())) * ((len(shown) + 3) // 4) + 1.2),
        layout="constrained",
    )
    grid = figure.subplots((len(shown) + 3) // 4, min(len(shown), 4), squeeze=False)
    for panel, axis in zip(grid.flat, shown, strict=False):
        alone, without, labels = [], [], []
        for choice in choices[axis]:
            inside = [v for r, v in zip(feasible, vectors, strict=True) if str(getattr(r, axis)) == choice]
            outside = [v for r, v in zip(feasible, vectors, strict=True) if str(getattr(r, axis)) != choice]
            alone.append(hypervolume(inside, box[1]) / whole)
            without.append(1 - hypervolume(outside, box[1]) / whole)
            labels.append(f"{choice} ({len(inside)})")
        order = sorted(range(len(labels)), key=lambda i: alone[i])
        panel.barh(
            [labels[i] for i in order],
            [alone[i] for i in order],
            color="#0072B2",
            height=0.7,
            label="with this choice alone",
        )
        panel.barh(
            [labels[i] for i in order],
            [without[i] for i in order],
            color="#D55E00",
            height=0.3,
            label="lost without it",
        )
        panel.set_title(axis.replace("_", " "), fontsize=10)
        panel.set_xlim(0, 1)
        panel.set_ylim(-0.8, max(len(v) for v in choices.values()) - 0.2)  # bars of one height in all panels
        panel.tick_params(labelsize=7.5)
        panel.grid(axis="x", alpha=0.25)
    for panel in list(grid.flat)[len(shown) :]:
        panel.set_visible(False)
    handles, names = grid.flat[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower right", ncols=2, fontsize=9)
    figure.suptitle(
        f"{name}: what each choice buys, as a share of the front's hypervolume (points in brackets)", fontsize=11
    )
    return figure


def save(figure: Figure, path: Path) -> None:
    """Write a figure whole or not at all; the suffix says the kind.

    Raises:
        RecordError: the suffix is not one of png, svg, pdf.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise RecordError(f"a figure's file must end in {', '.join(SUFFIXES)}, but got {path.name!r}.")
    with atomic(path) as temporary:
        # no date in the file: the same results give the same bytes
        metadata = (
            {"Date": None}
            if path.suffix.lower() == ".svg"
            else {"CreationDate": None}
            if path.suffix.lower() == ".pdf"
            else {}
        )
        figure.savefig(temporary, dpi=150, metadata=metadata)


def _references(axes: Axes, rows: Sequence[Row], quality: Objective, cost: Objective) -> None:
    for row in rows:
        if row.id == "float":
            axes.axhline(quality.read(row.model_dump()), color="grey", linewidth=0.9, linestyle="--", label="float")
        elif row.id.startswith("int8.") and row.status == "ok":
            x, y = cost.read(row.model_dump()), quality.read(row.model_dump())
            text = f"INT8 ({row.multiplier})"
            axes.scatter([x], [y], marker="*", s=130, color="black", zorder=6)
            axes.annotate(text, (x, y), textcoords="offset points", xytext=(0, -13), fontsize=7.5, ha="center")


def _labels(axes: Axes, on_front: Sequence[Row], objectives: Sequence[Objective]) -> None:
    """Names at the ends and the knee only: a front of twenty labels is unreadable, and the table has them all."""
    knee = find_knee(on_front, objectives)
    named = {r.id: r for r in (on_front[0], knee, on_front[-1])}
    for row in named.values():
        x, y = (o.read(row.model_dump()) for o in reversed(list(objectives)))
        text = f"{row.id}: {row.weight} x {row.activation}" + (" (knee)" if row is knee else "")
        axes.annotate(text, (x, y), textcoords="offset points", xytext=(8, 9), fontsize=7.5, rotation=0)


def _model_note(rows: Sequence[Row]) -> str:
    share = max((r.uncalibrated_lut_share or 0.0) for r in rows)
    return f"{rows[0].model} model, up to {share:.0%} from lines not yet calibrated"


def _thousands(value: float, _position: float) -> str:
    return f"{value / 1000:g}k" if value >= 1000 else f"{value:g}"
