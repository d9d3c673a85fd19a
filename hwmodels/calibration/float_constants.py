"""Written by ``python -m hwmodels.calibration.fit_float``: change the table or the form, not this file."""

FACTORS = {
    "chain": 0.9236,
    "clear": 0.6588,
    "exponent": 1.0849,
    "lane": 0.7718,
    "shift": 0.4604,
    "table": 1.4084,
}
"""LUT6 per counted bit, by feature (see `hwmodels.float_cost`)."""

# relative errors (median, 90th percentile) of LUTs: in sample; rows that no fit saw
IN_SAMPLE = 0.0210, 0.0551
TEST = 0.0209, 0.0519
MEDIAN_ERROR, P90_ERROR = TEST
BASIS = "float_units.csv, 136 units, LUTs after synthesis, tested on 40 others"

# ranges of the rows to fit, both ends included
LANES = (1, 8)
EXPONENT_BITS = (4, 8)
MANTISSA_BITS = (3, 23)
FORMAT_BITS = (3, 8)
FAMILIES = ("xc7", "xcup")
