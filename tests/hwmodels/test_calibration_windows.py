"""Window generators: the committed table, the fit that follows from it, and the form that uses it."""

import pytest

from hwmodels.calibration import fit_windows, window_constants
from hwmodels.calibration.window_points import shape_of
from hwmodels.calibration.window_points import units as window_units
from hwmodels.devices import get_device
from hwmodels.primitives.cost import BandKind
from hwmodels.primitives.memory import MemoryStyle, bram18
from hwmodels.primitives.window import stored_luts, window
from hwmodels.rtl.window import WindowUnit
from hwmodels.rtl.window_structure import parallel_structure, window_structure

ROWS = fit_windows.read_window_rows()
CAPACITY = get_device("xczu7ev").resources


def structure_of(unit):
    return window_structure(unit) if isinstance(unit, WindowUnit) else parallel_structure(unit)


def test_the_table_holds_every_planned_generator() -> None:
    planned = list(window_units())
    assert [(row.unit, row.use) for row in ROWS if row.family == "xcup"] == planned
    assert {row.unit for row in ROWS if row.family == "xc7"} < {unit for unit, _ in planned}
    fitted = {unit for unit, use in planned if use == "fit"}
    assert not fitted & {unit for unit, use in planned if use == "test"}


def test_the_committed_constants_are_those_of_the_table() -> None:
    assert fit_windows.CONSTANTS.read_text() == fit_windows.render(fit_windows.fit_windows(ROWS), ROWS)


def test_errors_on_generators_that_no_fit_saw() -> None:
    assert window_constants.TEST[0] <= 0.05
    assert window_constants.TEST[1] <= 0.1


def test_what_stores_words_is_derived() -> None:
    """LUTs to one; flip-flops but for what a mapper trims; block memory by Vivado's rule, which is never below Yosys'."""
    assert all(abs(stored_luts(row.unit, row.family) - row.memory_luts) <= 1 for row in ROWS)
    exact = [
        row
        for row in ROWS
        if structure_of(row.unit).registers - row.unit.block * structure_of(row.unit).behind == row.ff
    ]
    assert len(exact) >= 0.9 * len(ROWS)
    for row in ROWS:
        if row.unit.block:
            assert row.bram18 <= bram18(*structure_of(row.unit).memory) <= row.bram18 + 1


def cost(shape=None, bits=4, lanes=1, parallel=False, style=MemoryStyle.AUTO, family="xcup"):
    return window(
        shape or shape_of(8, (26, 26), 3, 1, 1, depthwise=False), bits, lanes, parallel, style, CAPACITY, family
    )


def test_a_form_is_measured_inside_its_table_and_extrapolated_outside() -> None:
    inside = cost()
    assert inside.band.kind is BandKind.MEASURED
    assert (inside.band.median, inside.band.p90) == window_constants.TEST
    assert inside.formula.startswith("ring of 448 words of 4 bits in LUTs; ")
    for outside, why in (
        (cost(shape_of(512, (9, 9), 3, 1, 1, depthwise=False), 8, 64), "words of 512 bits, more than 64"),
        (cost(shape_of(512, (58, 58), 3, 1, 1, depthwise=False), 4, 2), "words, more than 4864"),
        (cost(family="versal"), "family versal instead of xc7 or xcup"),
    ):
        assert outside.band.kind is BandKind.EXTRAPOLATED
        assert why in outside.band.basis


@pytest.mark.parametrize("parallel", [False, True])
def test_the_cheaper_memory_is_taken(parallel: bool) -> None:
    shape = shape_of(64, (114, 114), 3, 1, 1, depthwise=True)
    auto, lutram, bram = (
        cost(shape, 8, 8, parallel, style).resources
        for style in (MemoryStyle.AUTO, MemoryStyle.LUTRAM, MemoryStyle.BRAM)
    )
    assert auto == bram
    assert lutram.bram18 == 0 < bram.bram18
    assert lutram.lut > 5 * bram.lut
    assert cost(parallel=parallel, lanes=8, style=MemoryStyle.AUTO).resources.bram18 == 0


def test_a_row_of_pixels_needs_no_lines() -> None:
    row = cost(shape_of(4, (1, 64), (1, 3), 1, 1, depthwise=False), 8, 4, True, MemoryStyle.BRAM).resources
    assert row.bram18 == 0
    assert row.ff > 3 * 32
    one = cost(shape_of(4, (3, 3), 3, 1, 1, depthwise=False), 8, 4, True, MemoryStyle.BRAM).resources
    assert one.bram18 == 0
    assert one.ff > 9 * 32
