"""Written by ``python -m hwmodels.calibration.fit_requantize``: change the table or the form, not this file."""

FACTORS = {
    "chain": 0.9968,
    "clamp/3": 0.5381,
    "digits/3": 0.5696,
    "integer": 2.192,
    "normalize/3": 0.6961,
    "reduce/3": 0.2346,
    "rows": 0.7042,
    "shifter/3": 0.6104,
    "shifter/5": 0.4421,
    "shifter/6": 1.1631,
}
"""LUT6 per counted bit, by feature (see `hwmodels.primitives.requantize`): fitted to the rows to fit."""

# relative errors (median, 90th percentile) by scale: in sample; rows that no fit saw
IN_SAMPLE = 0.0143, 0.0460
TEST = 0.0148, 0.0406
RANK_CORRELATION = 0.9988
"""Spearman's, on the rows that no fit saw."""

TABLE_SHARE = 0.625
"""Of the most LUT6 that a table can take: the median of those synthesized."""

TABLES = 0.2500, 0.3804
MEAN_CONSTANT = 0.0746, 0.2459
"""Of a constant whose digits are not known: the mean stands for it."""

THRESHOLDS = 0.0000, 0.0234
"""Of all units by thresholds: derived, nothing fitted."""

BASIS = "requantize_units.csv, 248 units, LUTs after synthesis, tested on 59 others"
THRESHOLD_BASIS = "requantize_units.csv, LUTs of 73 threshold searches after synthesis, none fitted"

# ranges of the rows to fit, both ends included
SUM_BITS = (4, 40)
OUTPUT_BITS = (2, 8)
FAMILIES = ("xc7", "xcup")
