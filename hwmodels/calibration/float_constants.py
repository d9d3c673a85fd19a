"""Written by ``python -m hwmodels.calibration.fit_float``: change the table or the form, not this file."""

FACTORS = {
    "chain": 0.9321,
    "lane": 0.4594,
    "shift": 0.5049,
    "table": 0.4669,
}
"""LUT6 per counted bit, by feature (see `hwmodels.float_cost`)."""

# relative errors (median, 90th percentile) of LUTs: in sample; rows that no fit saw
IN_SAMPLE = 0.0212, 0.0660
TEST = 0.0346, 0.0528
MEDIAN_ERROR, P90_ERROR = TEST
BASIS = "float_units.csv, 36 units, LUTs after synthesis, tested on 12 others"

# ranges of the rows to fit, both ends included
LANES = (1, 8)
EXPONENT_BITS = (4, 8)
MANTISSA_BITS = (3, 23)
FORMAT_BITS = (3, 8)
FAMILIES = ("xc7", "xcup")
