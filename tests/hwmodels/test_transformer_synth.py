"""Units of transformers, synthesized again: the committed table is what the generators give today. Needs Yosys."""

import pytest

from hwmodels.calibration.fit_transformer import read_transformer_rows
from hwmodels.calibration.transformer_points import points
from hwmodels.synth import synthesize_design

CHOSEN = {"shift_scale": ("int8", 0), "gate": ("e2m1", 0), "rotary": ("e2m3", 1)}
"""Small units; the last leaves its products to DSP slices."""


@pytest.mark.parametrize("kind", CHOSEN)
def test_the_table_is_that_of_the_generators(kind: str) -> None:
    format_name, slices = CHOSEN[kind]
    found = [
        (point, row)
        for point, row in zip(points(), read_transformer_rows(), strict=True)
        if (point.columns["unit"], point.columns["format"], point.columns["slices"]) == (kind, format_name, slices)
    ]
    point, row = found[0]
    made = synthesize_design(point.design)
    assert (made.lut_packed, made.carry8, made.ff, made.dsp) == (row.luts, row.carry8, row.ff, row.dsp)
