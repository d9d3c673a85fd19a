"""A cost report with a correction to implemented operators applied: every corrected line says by how much and by which."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from hwmodels.calibration.vivado import RESOURCES, Correction
from hwmodels.datapath import Multiplier
from hwmodels.ops import Depthwise, MatVec, Operator, Requantize, Window
from hwmodels.options import CostModel, CostOptions, UnitStyle
from hwmodels.report import CostError, CostLine, CostReport
from hwmodels.resources import Resources

_STREAMS = {
    "FIFO": "StreamingFIFO_rtl",
    "residual FIFO": "StreamingFIFO_rtl",
    "width converter": "StreamingDataWidthConverter_rtl",
}


def correct(
    report: CostReport, operators: Iterable[Operator], options: CostOptions, correction: Correction
) -> CostReport:
    """`report` with every operator that `correction` knows scaled to what it says, and notes of what was done.

    A law holds for an operator as a whole, so all its lines are scaled alike; requantizers inside HLS units belong to them.
    Units of LUT multipliers in this project's own style, requantizers of their own, adds and pools have no law: they are
    what no row can describe.

    Args:
        operators: of the costed network, for what each layer's lines are.

    Raises:
        CostError: the report is not one of the calibrated model.
    """
    if options.model is not CostModel.CALIBRATED:
        raise CostError(f"a correction is one of the calibrated model, but got model={options.model}.")
    named = {op.name: op for op in operators}
    units = [_unit(f"{line.layer} {i}", line, named, options) for i, line in enumerate(report.lines)]
    sums: dict[tuple[str, str], Resources] = {}
    for line, unit in zip(report.lines, units, strict=True):
        if unit[0] in correction.kinds:
            sums[unit] = sums.get(unit, Resources()) + line.resources
    factors = {
        unit: {name: correction.factor(unit[0], name, total.as_dict()[name]) for name in RESOURCES}
        for unit, total in sums.items()
    }
    lines = tuple(_scaled(line, factors.get(unit), correction) for line, unit in zip(report.lines, units, strict=True))
    left = sorted({line.component for line, unit in zip(report.lines, units, strict=True) if unit not in sums})
    changed = replace(report, lines=lines)
    notes = (
        f"corrected by {correction.name} ({', '.join(correction.tools)}): LUT {report.total.lut:,.0f} to "
        f"{changed.total.lut:,.0f}, FF {report.total.ff:,.0f} to {changed.total.ff:,.0f}, BRAM18 {report.total.bram18:,.0f} to "
        f"{changed.total.bram18:,.0f}, DSP {report.total.dsp:,.0f} to {changed.total.dsp:,.0f}; it does not know: "
        f"{', '.join(left) or 'nothing'}",
    )
    return replace(changed, notes=(*report.notes, *notes))


def _unit(name: str, line: CostLine, operators: dict[str, Operator], options: CostOptions) -> tuple[str, str]:
    """(kind, name) of the operator that a line is a part of: `name` if it is one by itself; "" if no row can describe it."""
    if line.component in _STREAMS:
        return _STREAMS[line.component], name
    op = operators.get(line.layer)
    if isinstance(op, Requantize) and options.units is UnitStyle.HLS:
        op = operators.get(op.source)
    match op:
        case Window():
            return "ConvolutionInputGenerator_rtl", op.name
        case MatVec() | Depthwise() if options.units is UnitStyle.HLS or options.multiplier is Multiplier.DSP:
            unit = "MVAU" if isinstance(op, MatVec) else "VVAU"
            return f"{unit}_{'hls' if options.units is UnitStyle.HLS else 'rtl'}", op.name
        case _:
            return "", name


def _scaled(line: CostLine, factors: dict[str, float] | None, correction: Correction) -> CostLine:
    if factors is None or all(factor == 1 for factor in factors.values()):
        return line
    counts = line.resources.as_dict()
    resources = Resources(**{name: count * factors.get(name, 1.0) for name, count in counts.items()}).on_grid()
    said = ", ".join(f"{name} x {factor:.3f}" for name, factor in factors.items() if factor != 1 and counts[name])
    return replace(
        line, resources=resources, formula=f"{line.formula}; {correction.name}: {said}" if said else line.formula
    )
