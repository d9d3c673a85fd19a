"""How far the calibrated cost model is off, table by table: LUTs on units that no fit saw, and how often the rest is exact.

Every figure is computed from the committed tables of synthesized units; `docs/cost-model.md` holds what this prints.

    python benchmarks/cost_accuracy.py
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from hwmodels.calibration import (
    fit,
    fit_dsp,
    fit_elementwise,
    fit_float,
    fit_hadamard,
    fit_operators,
    fit_requantize,
    fit_segments,
    fit_streams,
    fit_transformer,
    fit_windows,
)
from hwmodels.calibration.regression import Errors
from hwmodels.devices import Family
from hwmodels.dot_product import dot_product_unit
from hwmodels.primitives.cost import BandKind


def dot_units() -> Iterator[tuple[str, Errors, int]]:
    """Dot-product units, with the test units split as their error bands split them."""
    rows = fit.read_rows()
    found = fit.fit(rows)
    yield "dot-product units, other lanes, P and overflow of known pairs of formats", found.known_pair, found.known_rows
    yield "dot-product units, pairs of formats left out, with mantissas", found.new_pair, found.new_rows
    errors: dict[BandKind, list[float]] = {BandKind.MEASURED: [], BandKind.EXTRAPOLATED: []}
    for row in rows:
        if (row.use, row.family) == ("test", "xcup"):
            shape = row.weight, row.activation, row.lanes, row.accumulator_bits
            resources, band = dot_product_unit(*shape, Family.XCUP, row.overflow, row.dropped)
            errors[band.kind].append(resources.lut / row.luts - 1)
    for kind, some in errors.items():
        yield f"dot-product units drawn at random over everything, band {kind}", Errors.of(np.array(some)), len(some)


def others() -> Iterator[tuple[str, Errors, int]]:
    """The other tables, on their test rows."""
    dsp = fit_dsp.fit(fit_dsp.read_rows())
    yield "LUTs around DSP slices", dsp.test, dsp.test_rows
    segments = fit_segments.fit_segments(fit_segments.read_segment_rows())
    yield "outer stages of tiles and block scales", segments.test, segments.test_rows
    floats = fit_float.fit(fit_float.read_rows())
    yield "floating-point adder trees", floats.test, floats.test_rows
    requantized = fit_requantize.fit_requantize(fit_requantize.read_requantize_rows())
    yield "requantizers by scale", requantized.test, requantized.test_rows
    yield "requantizers by thresholds (derived)", requantized.thresholds, requantized.threshold_rows
    hadamard = fit_hadamard.read_hadamard_rows()
    yield "online Hadamard units (derived)", fit_hadamard.hadamard_errors(hadamard), len(hadamard)
    elementwise = fit_elementwise.fit_elementwise(fit_elementwise.read_elementwise_rows())
    yield "residual adds and pools", elementwise.test, elementwise.test_rows
    zeros, labels = fit_operators.fit_operators(fit_operators.read_operator_rows())
    yield "zero paddings (a dozen LUTs each)", zeros.test, zeros.test_rows
    yield "label select", labels.test, labels.test_rows
    streams = fit_streams.fit_streams(fit_streams.read_stream_rows())
    yield "FIFOs, width converters, forks, control of layers", streams.test, streams.test_rows
    yield "memories in LUTs (derived)", streams.memories, streams.memory_rows
    windows = fit_windows.fit_windows(fit_windows.read_window_rows())
    yield "sliding-window generators, with the LUTs that store words", windows.test, windows.test_rows
    transformers = fit_transformer.fit_transformer(fit_transformer.read_transformer_rows())
    gates = transformers.kinds["gate"][1]
    yield "norms, softmax, dynamic scales, rotary positions", transformers.test, transformers.test_rows - gates
    yield "products of two streams (a few dozen LUTs each)", transformers.gates, gates


def exact() -> Iterator[tuple[str, float]]:
    """Share of rows in which a derived count equals the synthesized one."""
    flip_flops, carries = [], []
    for row in fit.read_rows():
        shape = row.weight, row.activation, row.lanes, row.accumulator_bits
        resources, _ = dot_product_unit(*shape, Family(row.family), row.overflow, row.dropped)
        flip_flops.append(resources.ff == row.ff)
        carries.append(resources.carry8 == row.carry8)
    yield "flip-flops of dot-product units", float(np.mean(flip_flops))
    yield "carry blocks of dot-product units", float(np.mean(carries))
    slices = [-(-row.pe // row.lanes) * row.simd == row.dsp for row in fit_dsp.read_rows()]
    yield "DSP slices", float(np.mean(slices))
    rows = fit_operators.read_operator_rows()
    yield "flip-flops of zero paddings and label select", float(np.mean([row.unit.registers == row.ff for row in rows]))


def main() -> None:
    """Print both tables as Markdown."""
    print(
        "| LUTs on units that were not fitted | units | median error | 90th percentile |\n| --- | ---: | ---: | ---: |"
    )
    for name, errors, count in (*dot_units(), *others()):
        print(f"| {name} | {count} | {errors.median:.1%} | {errors.p90:.1%} |")
    print("\n| derived counts | exact in |\n| --- | ---: |")
    for name, share in exact():
        print(f"| {name} | {share:.1%} |")


if __name__ == "__main__":
    main()
