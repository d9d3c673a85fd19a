"""The window generators that the LUT model is fitted to and tested on."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from hwmodels.calibration.draws import with_uses
from hwmodels.calibration.measure import Point
from hwmodels.devices import Family
from hwmodels.rtl.window import TOP, WindowUnit, window_verilog
from hwmodels.rtl.window_parallel import ParallelWindowUnit, parallel_window_verilog
from hwmodels.synth import Design
from hwmodels.window_shape import Pair, WindowShape

Unit = WindowUnit | ParallelWindowUnit

TEST_SEED, TEST_POINTS = 20261128, 14

# channels, input size, kernel, stride, dilation, depthwise, bits, lanes, in block memory
SERIAL = (
    (2, (6, 6), 3, 1, 1, False, 4, 1, False),
    (3, (34, 34), 3, 1, 1, False, 8, 3, False),
    (8, (26, 26), 3, 1, 1, False, 4, 1, False),
    (8, (26, 26), 3, 2, 1, True, 8, 2, False),
    (16, (14, 14), 3, 1, 1, False, 2, 8, False),
    (16, (9, 9), 2, 2, 1, False, 8, 4, False),
    (32, (8, 8), 5, 1, 1, False, 4, 4, False),
    (32, (16, 16), 1, 2, 1, False, 4, 8, False),
    (64, (10, 10), 3, 1, 2, False, 4, 16, False),
    (24, (1, 64), (1, 7), 1, 1, True, 8, 4, False),
    (64, (58, 58), 3, 1, 1, False, 4, 4, True),
    (3, (230, 230), 7, 2, 1, False, 8, 1, True),
    (128, (30, 30), 3, 1, 1, True, 8, 8, True),
)
PARALLEL = (
    (3, (34, 34), 3, 1, 1, False, 8, 3, False),
    (8, (26, 26), 3, 1, 1, False, 4, 8, False),
    (16, (14, 14), 3, 2, 1, True, 4, 4, False),
    (32, (30, 30), 3, 1, 1, True, 8, 4, True),
    (4, (58, 58), 5, 1, 1, False, 8, 4, True),
    (1, (9, 9), 2, 2, 1, False, 2, 1, False),
    (24, (1, 64), (1, 7), 1, 1, True, 8, 4, False),
)


def shape_of(
    channels: int, size: Pair, kernel: int | Pair, stride: int, dilation: int, *, depthwise: bool
) -> WindowShape:
    """The windows of a padded input, with the same stride and dilation in both directions where there is room."""
    pair = (kernel, kernel) if isinstance(kernel, int) else kernel
    strides = tuple(stride if length > 1 else 1 for length in size)
    out = [(n - dilation * (k - 1) - 1) // s + 1 for n, k, s in zip(size, pair, strides, strict=True)]
    return WindowShape(
        channels, size, (out[0], out[1]), pair, (strides[0], strides[1]), (dilation, dilation), depthwise=depthwise
    )


def _drawn() -> Iterator[Unit]:
    """The test units: every coordinate drawn."""
    rng = random.Random(TEST_SEED)
    while True:
        kernel, dilation = rng.choice((2, 3, 3, 3, 4, 5)), rng.choice((1, 1, 1, 2))
        size = dilation * (kernel - 1) + rng.randint(2, 40)
        channels, depthwise = rng.choice((2, 4, 6, 8, 12, 16, 32, 48, 64)), rng.random() < 0.4
        lanes = rng.choice([n for n in range(1, channels + 1) if channels % n == 0 and n <= 16])
        shape = shape_of(channels, (size, size), kernel, rng.choice((1, 1, 2)), dilation, depthwise=depthwise)
        bits, block = rng.randint(1, 8), rng.random() < 0.4
        depth = shape.buffer_depth(lanes, parallel=False)
        if depth > 4096 or (not block and depth * lanes * bits > 1 << 14) or (block and depth < 256):
            continue
        if rng.random() < 0.6:
            yield WindowUnit(shape, bits, lanes, block)
        elif (depthwise or lanes == channels) and lanes * bits * kernel * kernel <= 1024:
            yield ParallelWindowUnit(shape, bits, lanes, block)


def units() -> Sequence[tuple[Unit, str]]:
    """Every unit once, with its use: fit or test."""
    planned: list[Unit] = []
    for kind, rows in ((WindowUnit, SERIAL), (ParallelWindowUnit, PARALLEL)):
        for channels, size, kernel, stride, dilation, depthwise, bits, lanes, block in rows:
            shape = shape_of(channels, size, kernel, stride, dilation, depthwise=depthwise)
            planned.append(kind(shape, bits, lanes, block))
    return with_uses(planned, _drawn(), TEST_POINTS)


def _pair(pair: Pair) -> str:
    return f"{pair[0]}x{pair[1]}"


def _point(unit: Unit, use: str, family: Family) -> Point:
    shape = unit.shape
    columns: dict[str, str | int] = {
        "use": use,
        "parallel": int(isinstance(unit, ParallelWindowUnit)),
        "block": int(unit.block),
        "bits": unit.bits,
        "lanes": unit.lanes,
        "channels": shape.channels,
        "input": _pair(shape.input_size),
        "output": _pair(shape.output_size),
        "kernel": _pair(shape.kernel),
        "stride": _pair(shape.stride),
        "dilation": _pair(shape.dilation),
        "depthwise": int(shape.depthwise),
    }
    text = window_verilog(unit) if isinstance(unit, WindowUnit) else parallel_window_verilog(unit)
    return Point(columns, Design(text, family, TOP, shift_registers=True))


def points() -> Sequence[Point]:
    """All units on UltraScale+, and every seventh on 7 series as well."""
    chosen = units()
    plus = [_point(unit, use, Family.XCUP) for unit, use in chosen]
    return [*plus, *(_point(unit, use, Family.XC7) for unit, use in chosen[::7])]
