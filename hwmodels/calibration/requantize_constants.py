"""Written by ``python -m hwmodels.calibration.fit_requantize``: change the table or the form, not this file."""

FACTORS = {
    "chain": 0.9917,
    "clamp/3": 0.4903,
    "digits/3": 0.6589,
    "integer": 3.9798,
    "normalize/3": 0.6888,
    "reduce/3": 0.1582,
    "rows": 0.7775,
    "shifter/3": 0.5529,
    "shifter/5": 0.4555,
    "shifter/6": 1.1877,
}
"""LUT6 per counted bit, by feature (see `hwmodels.primitives.requantize`): fitted to the rows to fit."""

# relative errors (median, 90th percentile) by scale: in sample; rows that no fit saw
IN_SAMPLE = 0.0167, 0.0490
TEST = 0.0147, 0.0783
RANK_CORRELATION = 0.9981
"""Spearman's, on the rows that no fit saw."""

TABLE_SHARE = 0.625
"""Of the most LUT6 that a table can take: the median of those synthesized."""

TABLES = 0.2500, 0.3804
MEAN_CONSTANT = 0.0750, 0.2471
"""Of a constant whose digits are not known: the mean stands for it."""

THRESHOLDS = 0.0000, 0.0132
"""Of all units by thresholds: derived, nothing fitted."""

BASIS = "requantize_units.csv, 93 units, LUTs after synthesis, tested on 26 others"
THRESHOLD_BASIS = "requantize_units.csv, LUTs of 21 threshold searches after synthesis, none fitted"

# ranges of the rows to fit, both ends included
SUM_BITS = (4, 40)
OUTPUT_BITS = (2, 8)
FAMILIES = ("xc7", "xcup")
