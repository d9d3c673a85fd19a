"""Written by ``python -m hwmodels.calibration.fit_segments``: change the table or the form, not this file."""

FACTORS = {
    "chains": 1.0,
    "clamp/3": 0.4899,
    "digits/3": 0.4281,
    "exponent": 1.2953,
    "rows": 0.8619,
    "shifter/3": 0.4429,
    "shifter/5": 0.6172,
    "shifter/6": 1.0551,
    "window": 0.788,
}
"""LUT6 per counted bit, by feature (see `hwmodels.outer_stage`): fitted to the rows to fit, but for `chains`."""

# relative errors (median, 90th percentile): in sample; rows that no fit saw
IN_SAMPLE = 0.0037, 0.0114
TEST = 0.0051, 0.0147
RANK_CORRELATION = 0.9998
"""Spearman's, on the rows that no fit saw."""

MEDIAN_ERROR, P90_ERROR = TEST
BASIS = "segment_units.csv, 99 outer stages, LUTs after synthesis, tested on 32 others"

# ranges of the rows to fit, both ends included
INNER_BITS = (9, 29)
OUTER_BITS = (17, 54)
UNITS = (1, 8)
FAMILIES = ("xc7", "xcup")
