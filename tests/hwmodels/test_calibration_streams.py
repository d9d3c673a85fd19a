"""FIFOs, converters, forks, memories and controls: the committed table, the fit of it, and the forms that use it."""

import pytest

from hwmodels.calibration import fit_streams, stream_constants
from hwmodels.calibration.stream_points import units as stream_units
from hwmodels.devices import get_device
from hwmodels.primitives.cost import BandKind
from hwmodels.primitives.memory import Access, MemoryStyle, bram18, memory, memory_luts
from hwmodels.primitives.stream import duplicate, fifo, unit_control, width_converter
from hwmodels.rtl.memory import MemoryUnit
from hwmodels.rtl.stream import DuplicateUnit, FifoUnit
from hwmodels.rtl.stream_structure import stream_structure

ROWS = fit_streams.read_stream_rows()
MEMORIES = [row for row in ROWS if isinstance(row.unit, MemoryUnit)]
BUILT = [row for row in ROWS if not isinstance(row.unit, MemoryUnit)]
CAPACITY = get_device("xczu7ev").resources


def test_the_table_holds_every_planned_unit() -> None:
    planned = list(stream_units())
    assert [(row.unit, row.use) for row in ROWS if row.family == "xcup"] == planned
    assert {row.unit for row in ROWS if row.family == "xc7"} < {unit for unit, _ in planned}
    fitted = {unit for unit, use in planned if use == "fit"}
    assert not fitted & {unit for unit, use in planned if use == "test"}


def test_the_committed_constants_are_those_of_the_table() -> None:
    assert fit_streams.CONSTANTS.read_text() == fit_streams.render(fit_streams.fit_streams(ROWS), ROWS)


def test_errors_on_units_that_no_fit_saw() -> None:
    assert stream_constants.TEST[0] <= 0.05
    assert stream_constants.TEST[1] <= 0.15
    assert stream_constants.MEMORIES[0] <= 0.05
    assert stream_constants.MEMORIES[1] <= 0.15


def test_flip_flops_and_block_memory_are_derived() -> None:
    exact = [row for row in BUILT if stream_structure(row.unit).registers == row.ff]
    assert len(exact) >= 0.9 * len(BUILT)
    for row in BUILT:
        if isinstance(row.unit, FifoUnit) and row.unit.kind == "block":
            assert row.bram18 <= bram18(row.unit.width, row.unit.depth) <= row.bram18 + 1
    assert all(row.ff == row.unit.width for row in MEMORIES)
    forks = [row for row in BUILT if isinstance(row.unit, DuplicateUnit)]
    assert len(forks) >= 3
    assert all(duplicate(row.unit.width, row.unit.copies).resources.lut == row.luts for row in forks)


def test_seven_series_differs_only_in_memories_of_two_ports() -> None:
    plus = {row.unit: row.luts for row in ROWS if row.family == "xcup"}
    seven = [row for row in ROWS if row.family == "xc7"]
    assert seven
    for row in seven:
        if not (isinstance(row.unit, MemoryUnit) and row.unit.kind == "dual"):
            assert abs(row.luts - plus[row.unit]) <= max(2, 0.05 * plus[row.unit])
    assert memory_luts(Access.TWO_PORTS, 21, 64, "xc7") == 28
    assert memory_luts(Access.TWO_PORTS, 21, 64, "xcup") == 24


@pytest.mark.parametrize("depth", [2, 32, 300])
def test_what_is_built_is_costed_with_its_band(depth: int) -> None:
    costs = [
        fifo("FIFO", depth, 8, MemoryStyle.LUTRAM, CAPACITY),
        width_converter(8, min(depth, 8) * 8),
        width_converter(24, 16),
        duplicate(8, depth),
        unit_control(depth, 4, True),
    ]
    for cost in costs:
        assert cost.band.kind is BandKind.MEASURED
        assert (cost.band.median, cost.band.p90) == stream_constants.TEST
        assert cost.resources.lut > 0
        assert cost.resources.ff > 0
    stored = memory("weight memory", 8, depth, MemoryStyle.LUTRAM, CAPACITY)
    assert (stored.band.median, stored.band.p90) == stream_constants.MEMORIES


def test_a_deep_fifo_is_in_block_memory_where_that_is_cheaper() -> None:
    deep = fifo("FIFO", 4000, 8, MemoryStyle.AUTO, CAPACITY).resources
    assert deep.bram18 == bram18(8, 4000)
    assert deep.lut < fifo("FIFO", 4000, 8, MemoryStyle.LUTRAM, CAPACITY).resources.lut / 10
    ultra = get_device("xcu250").resources
    assert fifo("FIFO", 4000, 8, MemoryStyle.URAM, ultra).band.kind is BandKind.EXTRAPOLATED


def test_wider_and_deeper_than_the_table_is_extrapolated() -> None:
    most, memory_most = stream_constants.MOST, stream_constants.MEMORY_MOST
    for bits, words, kind in ((0, 0, BandKind.MEASURED), (1, 0, BandKind.EXTRAPOLATED), (0, 1, BandKind.EXTRAPOLATED)):
        queue = fifo("FIFO", most[1] + words, most[0] + bits, MemoryStyle.LUTRAM, CAPACITY)
        stored = memory("weights", memory_most[0] + bits, memory_most[1] + words, MemoryStyle.LUTRAM, CAPACITY)
        assert queue.band.kind is stored.band.kind is kind
    wide = width_converter(8, 2400)
    assert wide.band.kind is duplicate(65, 2).band.kind is BandKind.EXTRAPOLATED
    assert wide.band.basis.endswith("extrapolated: words of 2400 bits, more than 64")
