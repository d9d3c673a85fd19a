"""Points per second of the calibrated cost model, one estimate at a time and in tables, and that both give the same totals.

A point is ResNet-20 for 32x32 images (22 layers with weights, 100 operators), one of 16 numerics for the whole network (pairs
of weight and activation formats, each with two accumulator widths) and, for each layer, any PE and SIMD that divide it; points
are drawn uniformly. What a point gives is LUT, CARRY8, FF, DSP, BRAM18, URAM and cycles per frame of the whole accelerator, as
in an estimate, without the text of its lines. Times are CPU seconds of one core; those of the tables include building them.

    python benchmarks/cost_model.py --points 2000000
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from itertools import product

import numpy as np

from hwmodels.catalog import parse_element
from hwmodels.datapath import Accumulator, Granularity, Scaling, TensorQuant
from hwmodels.devices import get_device
from hwmodels.estimate import estimate
from hwmodels.ops import (
    Add,
    Duplicate,
    Folding,
    LayerNumerics,
    MatVec,
    Network,
    Numerics,
    Operator,
    Pool,
    Requantize,
    Window,
    divisors,
    with_zeros,
)
from hwmodels.vector import CostTables

FORMATS = (
    ("int2", "uint2"),
    ("int3", "uint3"),
    ("int4", "uint4"),
    ("int4", "uint8"),
    ("int8", "uint8"),
    ("e2m1", "e2m1"),
    ("e2m1", "uint4"),
    ("e3m2", "e3m2"),
)


def _conv(name: str, site: str, inputs: int, outputs: int, size: int, stride: int, kernel: int) -> Iterator[Operator]:
    pixels = (size // stride) ** 2
    if kernel > 1:
        padded, out, square = (size + 2, size + 2), (size // stride,) * 2, (kernel, kernel)
        window = Window(f"{name}.window", name, inputs, padded, out, square, (stride, stride), (1, 1), False, site)
        yield from with_zeros(window, inputs, padded, (1, 1, 1, 1))
    yield MatVec(name, outputs, kernel * kernel * inputs, pixels, site)


def resnet20() -> Network:
    """ResNet-20 (arXiv 1512.03385, section 4.2) with projection shortcuts."""
    ops: list[Operator] = [
        *_conv("stem", "input", 3, 16, 32, 1, 3),
        Requantize("stem.requantize", "stem", 16, 1024, "x0"),
    ]
    inputs, size = 16, 32
    for block in range(9):
        channels = 16 << block // 3
        stride = 2 if channels > inputs else 1
        before, name, out = size * size, f"block{block}", size // stride
        source, middle, summed, after = f"x{block}", f"{name}.middle", f"{name}.sum", f"x{block + 1}"
        ops.append(Duplicate(f"{name}.fork", inputs, before, 2, source))
        ops += [
            *_conv(f"{name}.conv1", source, inputs, channels, size, stride, 3),
            Requantize(f"{name}.conv1.requantize", f"{name}.conv1", channels, out * out, middle),
            *_conv(f"{name}.conv2", middle, channels, channels, out, 1, 3),
            Requantize(f"{name}.conv2.requantize", f"{name}.conv2", channels, out * out, summed),
        ]
        shortcut = f"{name}.fork"
        if stride > 1:
            shortcut = f"{name}.projection"
            # the pixels that a stride skips are dropped by a window of one pixel
            ones, sizes = (1, 1), ((size, size), (out, out))
            ops.append(Window(f"{shortcut}.window", shortcut, inputs, *sizes, ones, (2, 2), ones, False, source))
            ops += _conv(shortcut, source, inputs, channels, out, 1, 1)
        ops += [
            Requantize(f"{name}.shortcut.requantize", shortcut, channels, out * out, summed),
            Add(f"{name}.add", channels, out * out, summed),
            Requantize(f"{name}.add.requantize", f"{name}.add", channels, out * out, after),
        ]
        inputs, size = channels, out
    ops += [
        Pool("pool", 64, 64, 1, "average", "x9"),
        Requantize("pool.requantize", "pool", 64, 1, "features"),
        MatVec("head", 10, 64, 1, "features"),
    ]
    return Network("resnet20", tuple(ops))


def numerics_of(network: Network, weight: str, activation: str, bits: int) -> Numerics:
    """The same formats and accumulator everywhere, a scale per channel of the weights."""
    weights, site = (
        TensorQuant(parse_element(weight), Scaling(Granularity.CHANNEL)),
        TensorQuant(parse_element(activation)),
    )
    layer = LayerNumerics(weights, Accumulator(bits))
    return Numerics(dict.fromkeys(network.sites, site), {op.name: layer for op in network.compute})


def main() -> None:
    """Draw points, cost them both ways, compare, print."""
    parser = argparse.ArgumentParser(description="Points per second of the calibrated cost model.")
    parser.add_argument("--points", type=int, default=2_000_000)
    parser.add_argument("--scalar-points", type=int, default=300)
    parser.add_argument("--device", default="XCZU7EV")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    network, device, rng = resnet20(), get_device(asked.device), np.random.default_rng(asked.seed)
    numerics = [numerics_of(network, *pair, bits) for pair, bits in product(FORMATS, (20, 28))]
    foldings = {
        op.name: [Folding(pe, simd) for pe, simd in product(divisors(op.rows), divisors(op.cols))]
        for op in network.compute
    }
    formats = rng.integers(len(numerics), size=asked.points, dtype=np.uint8)
    folded = {name: rng.integers(len(each), size=asked.points, dtype=np.uint8) for name, each in foldings.items()}

    start = time.process_time()
    tables = CostTables(network, numerics, foldings, device)
    building = time.process_time() - start
    costs = tables.at(formats, folded)
    seconds = time.process_time() - start

    start = time.process_time()
    singles = min(asked.scalar_points, asked.points)
    reports = [
        estimate(
            network, numerics[formats[i]], {name: each[folded[name][i]] for name, each in foldings.items()}, device
        )
        for i in range(singles)
    ]
    totals = [report.total for report in reports]
    scalar_seconds = time.process_time() - start
    for i, (report, total) in enumerate(zip(reports, totals, strict=True)):
        read = {name: getattr(costs, name)[i] for name in total.as_dict()}
        if read != total.as_dict() or costs.max_cycles[i] != report.max_cycles:
            raise SystemExit(f"point {i}: the tables give {read}, the estimate {total.as_dict()}")

    rate, scalar_rate = asked.points / seconds, singles / scalar_seconds
    print(f"{network.name}: {len(network.compute)} layers with weights, {len(network.operators)} operators")
    print(f"scalar  {scalar_rate:>12,.0f} points/s   ({singles:,} points, {scalar_seconds:.2f} s)")
    print(
        f"tables  {rate:>12,.0f} points/s   ({asked.points:,} points, {seconds:.2f} s, {building:.2f} s of it to build them)"
    )
    print(f"        {asked.points / (seconds - building):>12,.0f} points/s   once they are built")
    print(f"ratio   {rate / scalar_rate:>12,.0f}")
    print(f"totals and cycles of the first {singles:,} points are equal to the last bit")


if __name__ == "__main__":
    main()
