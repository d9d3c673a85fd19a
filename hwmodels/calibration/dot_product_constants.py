"""Written by ``python -m hwmodels.calibration.fit``: change the table or the form, not this file."""

FACTORS = (1.0034, 0.8006, 0.8745, 0.4395)
"""Of multiplier, tree, within, beyond (see `hwmodels.dot_product`)."""

# relative errors (median, 90th percentile): in sample; formats unseen; whole family of formats unseen
IN_SAMPLE = 0.0214, 0.0500
BY_PAIR = 0.0231, 0.0524
BY_FAMILY = 0.0437, 0.0896
MEDIAN_ERROR, P90_ERROR = BY_PAIR
BASIS = "prototype_xcup_yosys0.70.csv, 134 units, LUTs after synthesis, cross-validated over pairs of formats"

# ranges of the table, both ends included
LANES = (4, 64)
ACCUMULATOR_BITS = (24, 24)
WIDTHS = (1, 8)
MOST_EXPONENT_BITS = 5
