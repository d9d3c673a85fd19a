"""Written by ``python -m hwmodels.calibration.fit_windows``: change the table or the form, not this file."""

FACTORS = {
    "columns": 0.8976,
    "counted": 1.1966,
    "parallel": 1.5729,
    "turned": 1.6829,
}
"""LUT6 per counted bit, by feature (see `hwmodels.primitives.window`): fitted to the rows to fit."""

# relative errors (median, 90th percentile): in sample; rows that no fit saw
IN_SAMPLE = 0.0291, 0.1046
TEST = 0.0462, 0.0915
BASIS = "window_units.csv, 20 units, LUTs after synthesis, tested on 14 others"

# ranges of the rows to fit, both ends included
WIDTH = (2, 64)
DEPTH = (64, 4864)
FAMILIES = ("xc7", "xcup")
