"""Written by ``python -m hwmodels.calibration.fit_elementwise``: change the table or the form, not this file."""

FACTORS = {
    "derived": 1.0019,
    "exponent": 0.1114,
    "shifter/3": 0.3277,
    "shifter/5": 0.5477,
    "shifter/6": 1.9852,
    "table/3": 0.4072,
    "table/5": 0.516,
    "table/6": 0.9205,
}
"""LUT6 per counted bit, by feature (see `hwmodels.primitives.elementwise`): fitted to the rows to fit."""

# relative errors (median, 90th percentile): in sample; rows that no fit saw
IN_SAMPLE = 0.0151, 0.0565
TEST = 0.0151, 0.0275
BASIS = "elementwise_units.csv, 29 units, LUTs after synthesis, tested on 17 others"

# ranges of the rows to fit, both ends included
FORMAT_BITS = (2, 8)
FAMILIES = ("xc7", "xcup")
