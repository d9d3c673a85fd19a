"""Written by ``python -m hwmodels.calibration.fit_dsp``: change the table or the form, not this file."""

FACTORS = {
    "bit": 0.2858,
    "chain": 1.0077,
    "clamp": 0.4347,
    "parity": 1.1373,
    "clear": 1.0,
}
"""LUT6 per counted bit, by feature (see `hwmodels.dsp_cost`): fitted, but `clear`, the one inverter of a unit that accumulates in
its slices."""

# relative errors (median, 90th percentile) of LUTs: in sample; rows that no fit saw
IN_SAMPLE = 0.0049, 0.0144
TEST = 0.0056, 0.0145
MEDIAN_ERROR, P90_ERROR = TEST
BASIS = "dsp_units.csv, 60 units, LUTs after synthesis, tested on 30 others"

# ranges of the rows to fit, both ends included
WEIGHT_BITS = (2, 8)
ACTIVATION_BITS = (2, 8)
SIMD = (1, 64)
ACCUMULATOR_BITS = (18, 32)
FAMILIES = ("xc7", "xcup")
