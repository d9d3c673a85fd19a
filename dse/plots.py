"""The figures of a sweep, PNG and SVG: the front over every point, and which axis buys what."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dse.files import write_bytes
from dse.front import feasible_losses, front_rows
from dse.objectives import Objective
from dse.point import FAMILIES
from dse.records import RecordError, Row
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
_PAPER = {"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.8}
_ACCURACY_TICKS = (0.1, 0.2, 0.3, 0.5, 0.7, 0.8, 0.85, 0.9, 0.92, 0.94, 0.95, 0.96, 0.97, 0.98, 0.99, 0.995, 0.999)
CLOSE = 0.01
"""Relative distance from the INT8 reference's quality that the figure of the axes calls close."""

SUFFIXES = (".png", ".svg", ".pdf")


def front_figure(name: str, rows: Sequence[Row], objectives: Sequence[Objective]) -> Figure:
    """The first quality over the first cost: every point, the front as steps, sampling error bars, the references.

    Raises:
        RecordError: no point was measured that fits.
    """
    from matplotlib.figure import Figure

    quality, cost = _pair(objectives)
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
        if (interval := r.interval(quality.name)) is not None:
            axes.errorbar(
                [px],
                [py],
                yerr=[[py - interval[0]], [interval[1] - py]],
                color="black",
                linewidth=0.8,
                capsize=2,
                zorder=4,
            )
    _references(axes, rows, quality, cost)
    # of all objectives, as in the table: with three it may lie off the front of the two that are drawn
    _labels(axes, on_front, find_knee(front_rows(rows, objectives), objectives), pair)
    samples = feasible[0].samples
    axes.set_xlabel(f"{cost.label} ({cost.unit}; {_model_note(on_front)})")
    has_bars = any(r.interval(quality.name) is not None for r in on_front)
    bars = f"; bars: 95 % interval of {samples} test samples" if has_bars else ""
    axes.set_ylabel(f"{quality.label} ({quality.unit}{bars})", fontsize=9)
    axes.set_title(
        f"{name}: {len(feasible)} measured points on {', '.join(sorted({r.device or '' for r in feasible}))}"
    )
    if quality.ideal == 1.0 and quality.maximize:
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
    """Which axis buys what: the least cost at which each choice stays close to the INT8 reference in quality.

    Close is :data:`CLOSE`; a choice without a bar never came that close. Only measured points that fit count.

    Raises:
        RecordError: the INT8 reference or a point close to it is missing, or no axis has two measured choices.
    """
    from matplotlib.figure import Figure

    quality, cost = _pair(objectives)
    int8, feasible, choices = _axes_shown(rows)
    if not int8 or not choices:
        raise RecordError(
            f"a figure of the axes of {name} needs a measured INT8 reference that fits and an axis with two measured "
            "choices, but one of them is missing."
        )
    reference = min(cost.read(r.model_dump()) for r in int8)
    good = quality.read(int8[0].model_dump()) * (1 - CLOSE if quality.maximize else 1 + CLOSE)
    near = [r for r in feasible if (quality.read(r.model_dump()) >= good) == quality.maximize]
    figure = Figure(layout="constrained")
    columns = min(len(choices), 4)
    shown = list(choices)
    lines = [shown[i : i + columns] for i in range(0, len(shown), columns)]
    tallest = [max(len(choices[a]) for a in line) for line in lines]
    figure.set_size_inches(12, sum(0.22 * t + 0.7 for t in tallest) + 0.9)
    grid = figure.subplots(len(lines), columns, squeeze=False, sharex=True, height_ratios=[t + 1.5 for t in tallest])
    for index, axis in enumerate(shown):
        panel, most = grid.flat[index], tallest[index // columns]
        least = {c: [cost.read(r.model_dump()) for r in near if str(getattr(r, axis)) == c] for c in choices[axis]}
        order = sorted(least, key=lambda c: (not least[c], min(least[c], default=0.0), c), reverse=True)
        labels = [f"{c} ({len(least[c])}/{sum(str(getattr(r, axis)) == c for r in feasible)})" for c in order]
        panel.barh(labels, [min(least[c], default=0.0) for c in order], color="#0072B2", height=0.65)
        panel.axvline(reference, color="black", linewidth=1, linestyle="--")
        panel.set_title(axis.replace("_", " "), fontsize=10)
        panel.set_ylim(len(order) - most - 0.6, len(order) - 0.4)  # bars of one height in all panels, from the top
        panel.tick_params(labelsize=7.5, labelbottom=True)
        panel.xaxis.set_major_formatter(_thousands)
        panel.grid(axis="x", alpha=0.25)
    for panel in list(grid.flat)[len(choices) :]:
        panel.set_visible(False)
    figure.suptitle(
        f"{name}: least {cost.label} of each choice among the points within {CLOSE:.0%} of INT8's {quality.label.lower()} "
        f"({quality.read(int8[0].model_dump()):.4f})\ndashed: INT8; in brackets: points that close / points measured",
        fontsize=10.5,
    )
    return figure


def has_axes_figure(rows: Sequence[Row]) -> bool:
    """Whether :func:`axes_figure` has something to show."""
    int8, _, choices = _axes_shown(rows)
    return bool(int8 and choices)


def _axes_shown(rows: Sequence[Row]) -> tuple[list[Row], list[Row], dict[str, list[str]]]:
    """The INT8 references that fit, all other points that do, and the choices of every axis of which these have two."""
    int8 = [r for r in rows if r.id.startswith("int8.") and r.status == "ok"]
    feasible = [r for r in rows if r.status == "ok" and not r.id.startswith("int8.")]
    choices = {a: sorted({str(getattr(r, a)) for r in feasible}) for a in (*AXES, "multiplier")}
    return int8, feasible, {a: names for a, names in choices.items() if len(names) > 1}


def save(figure: Figure, path: Path) -> None:
    """Write a figure whole or not at all; the suffix says the kind.

    Raises:
        RecordError: the suffix is not one of png, svg, pdf.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise RecordError(f"a figure's file must end in {', '.join(SUFFIXES)}, but got {path.name!r}.")
    from matplotlib import rc_context

    kind, drawn = path.suffix.lower().removeprefix("."), io.BytesIO()
    # no date in the file: the same results give the same bytes
    metadata = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(kind, {})
    with rc_context({"svg.hashsalt": "bitfront"}):
        figure.savefig(drawn, format=kind, dpi=150, metadata=metadata)
    write_bytes(path, drawn.getvalue())  # begun when it is drawn: who is killed while drawing leaves nothing


def _pair(objectives: Sequence[Objective]) -> tuple[Objective, Objective]:
    """The first quality and the first cost: what two-dimensional figures show."""
    return next(o for o in objectives if o.is_quality), next(o for o in objectives if o.is_cost)


def _references(axes: Axes, rows: Sequence[Row], quality: Objective, cost: Objective) -> None:
    for row in rows:
        if row.id == "float":
            axes.axhline(quality.read(row.model_dump()), color="grey", linewidth=0.9, linestyle="--", label="float")
        elif row.id.startswith("int8.") and row.status == "ok":
            x, y = cost.read(row.model_dump()), quality.read(row.model_dump())
            text = f"INT8 ({row.multiplier})"
            axes.scatter([x], [y], marker="*", s=130, color="black", zorder=6)
            axes.annotate(
                text, (x, y), textcoords="offset points", xytext=(0, -13), fontsize=7.5, ha="center", bbox=_PAPER
            )


def _labels(axes: Axes, on_front: Sequence[Row], knee: Row, pair: Sequence[Objective]) -> None:
    """Names at the ends and the knee only: a front of twenty labels is unreadable, and the table has them all."""
    for row in {r.id: r for r in (on_front[0], knee, on_front[-1])}.values():
        x, y = (o.read(row.model_dump()) for o in reversed(list(pair)))
        text = f"{row.id}: {row.weight} x {row.activation}" + (" (knee)" if row is knee else "")
        if row not in (on_front[0], on_front[-1]):
            # in the corner that no point reaches, with a line to the knee
            corner, line = (0.02, 0.95 if pair[0].maximize else 0.05), {"arrowstyle": "-", "linewidth": 0.6}
            where: dict[str, Any] = {"textcoords": "axes fraction", "xytext": corner, "arrowprops": line}
        elif row is on_front[0] and len(on_front) > 1:
            where = {"textcoords": "offset points", "xytext": (8, -18)}
        elif axes.transAxes.inverted().transform(axes.transData.transform((x, y)))[0] > 0.75:
            where = {"textcoords": "offset points", "xytext": (-8, 20), "ha": "right"}
        else:
            where = {"textcoords": "offset points", "xytext": (8, 9)}
        axes.annotate(text, (x, y), fontsize=7.5, bbox=_PAPER, zorder=7, **where)


def _model_note(rows: Sequence[Row]) -> str:
    share = max((r.uncalibrated_lut_share or 0.0) for r in rows)
    part = f"up to {share:.0%} from lines not yet calibrated" if share else "no line uncalibrated"
    return f"{rows[0].model} model, {part}"


def _thousands(value: float, _position: float) -> str:
    return f"{value / 1000:g}k" if value >= 1000 else f"{value:g}"
