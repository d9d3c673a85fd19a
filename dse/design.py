"""From a row of the table back to the design point that it is of."""

from __future__ import annotations

from dse.evaluate import Evaluator, memo_spec
from dse.point import DesignPoint
from dse.records import RecordError, Row
from dse.results import Results
from dse.space import AXES, LATER, hardware_choices, make_space


def design_of(results: Results, row: Row, evaluator: Evaluator) -> DesignPoint:
    """The design point of a row, from its own columns.

    Raises:
        RecordError: the sweep's configuration does not describe it.
    """
    space = make_space(results.config)
    spec = space.spec({axis: str(getattr(row, axis) or LATER.get(axis)) for axis in AXES})
    hardware = {h.key: h for h in hardware_choices(results.config.hardware)}
    if row.hardware_key in hardware:
        point = evaluator.with_lanes(DesignPoint(spec, hardware[row.hardware_key]))
        if memo_spec(point.numerics).key == row.numerics_key:
            return point
    raise RecordError(
        f"point {row.id} must be one that the sweep's configuration describes, but its keys differ from it."
    )
