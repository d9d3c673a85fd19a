"""Window generators, simulated with both sides stalling at random: against slices of the padded frames."""

import re
import shutil

import numpy as np
import pytest
from streaming import streamed

from hwmodels.calibration.window_points import shape_of
from hwmodels.rtl.verilog import RtlError
from hwmodels.rtl.window import TOP, WindowUnit, window_verilog
from hwmodels.rtl.window_parallel import ParallelWindowUnit, parallel_window_verilog

needs_icarus = pytest.mark.skipif(shutil.which("iverilog") is None, reason="needs iverilog on the PATH")

FRAMES = 3
WORDS = [  # channels, padded size, kernel, stride, dilation, depthwise, lanes
    (2, (5, 5), 3, 1, 1, False, 1),
    (4, (8, 8), 3, 2, 1, False, 2),
    (4, (9, 9), 3, 2, 1, True, 1),
    (1, (8, 8), 2, 2, 1, False, 1),
    (3, (9, 9), 3, 1, 2, False, 1),
    (4, (6, 6), 1, 2, 1, False, 4),
    (2, (7, 7), 2, 3, 1, False, 1),
    (4, (1, 12), (1, 3), 2, 1, True, 2),
    (2, (3, 3), 3, 1, 1, False, 1),
    (8, (14, 14), 3, 1, 1, False, 1),
]
WHOLE = [
    (2, (5, 5), 3, 1, 1, False, 2),
    (4, (8, 8), 3, 2, 1, True, 2),
    (4, (9, 9), 3, 2, 1, True, 1),
    (1, (8, 8), 2, 2, 1, False, 1),
    (3, (9, 9), 3, 1, 2, False, 3),
    (4, (6, 6), 1, 2, 1, False, 4),
    (2, (7, 7), 2, 3, 1, False, 2),
    (2, (1, 12), (1, 3), 1, 1, False, 2),
    (1, (3, 3), 3, 1, 1, False, 1),
]


def unit_of(kind, row, bits=3):
    *geometry, depthwise, lanes = row
    return kind(shape_of(*geometry, depthwise=depthwise), bits, lanes)


def frames_of(unit):
    height, width = unit.shape.input_size
    rng = np.random.default_rng(0)
    return rng.integers(0, 1 << unit.width, (FRAMES, height, width, unit.shape.channels // unit.lanes))


def windows_of(unit, frames):
    """Words of all windows: shape (frames, rows, columns, kernel rows, kernel columns, words of a pixel)."""
    shape = unit.shape
    (down, right), (rise, run) = shape.stride, shape.dilation
    return np.array(
        [
            [
                [
                    frame[
                        y : y + rise * (shape.kernel[0] - 1) + 1 : rise, x : x + run * (shape.kernel[1] - 1) + 1 : run
                    ]
                    for x in range(0, right * shape.output_size[1], right)
                ]
                for y in range(0, down * shape.output_size[0], down)
            ]
            for frame in frames
        ]
    )


@needs_icarus
@pytest.mark.parametrize("row", WORDS, ids=str)
def test_words_of_windows(row):
    unit = unit_of(WindowUnit, row)
    frames = frames_of(unit)
    windows = windows_of(unit, frames)
    order = (0, 1, 2, 5, 3, 4) if unit.shape.depthwise else (0, 1, 2, 3, 4, 5)
    wanted = windows.transpose(order).ravel().tolist()
    for block, busy in ((False, 100), (True, 60)):
        text = window_verilog(WindowUnit(unit.shape, unit.bits, unit.lanes, block))
        (found,), cycles = streamed(text, TOP, frames.ravel().tolist(), len(wanted), busy)
        assert found == wanted
        if busy == 100:
            assert cycles <= FRAMES * unit.shape.cycles(unit.lanes, parallel=False)


@needs_icarus
@pytest.mark.parametrize("row", WHOLE, ids=str)
def test_whole_windows(row):
    unit = unit_of(ParallelWindowUnit, row)
    frames = frames_of(unit)
    windows = windows_of(unit, frames)
    taps = windows.transpose(0, 1, 2, 5, 3, 4).reshape(-1, windows.shape[3] * windows.shape[4])
    wanted = [sum(word << unit.width * k for k, word in enumerate(window)) for window in taps.tolist()]
    for block, busy in ((False, 100), (True, 60)):
        text = parallel_window_verilog(ParallelWindowUnit(unit.shape, unit.bits, unit.lanes, block))
        (found,), cycles = streamed(text, TOP, frames.ravel().tolist(), len(wanted), busy)
        assert found == wanted
        if busy == 100:
            assert cycles <= FRAMES * unit.shape.cycles(unit.lanes, parallel=True)


@needs_icarus
def test_a_broken_generator_is_found_out():
    unit = unit_of(WindowUnit, WORDS[0])
    frames = frames_of(unit)
    wanted = windows_of(unit, frames).ravel().tolist()
    text, changes = re.subn(r"(turn1 \? 6'd)\d+", r"\g<1>1", window_verilog(unit))
    assert changes
    assert streamed(text, TOP, frames.ravel().tolist(), len(wanted))[0] != [wanted]


def test_impossible_generators_are_refused():
    shape = shape_of(4, (8, 8), 3, 1, 1, depthwise=False)
    with pytest.raises(RtlError, match=r"lanes that divide its channels, but got bits=4, lanes=3, channels=4\."):
        WindowUnit(shape, 4, 3)
    wide = type(shape)(4, (8, 8), (7, 6), (3, 3), (1, 1), (1, 1), depthwise=False)
    for kind in (WindowUnit, ParallelWindowUnit):
        with pytest.raises(RtlError, match="the windows of a generator must lie in its padded input"):
            kind(wide, 4, 4)
    fewer = type(shape)(4, (8, 8), (5, 6), (3, 3), (1, 1), (1, 1), depthwise=False)
    with pytest.raises(RtlError, match="whole windows leave for all of the padded input"):
        parallel_window_verilog(ParallelWindowUnit(fewer, 4, 4))
