"""Written by ``python -m hwmodels.calibration.fit_hadamard``: change the table or the form, not this file."""

# relative errors (median, 90th percentile) of LUTs, nothing fitted: all rows; rows drawn at random
ERRORS = 0.0000, 0.0212
DRAWN = 0.0000, 0.0177
BASIS = "hadamard_units.csv, LUTs of 36 transforms after synthesis without their delays, none fitted"

# ranges of the rows, both ends included
BLOCK = (2, 128)
BITS = (3, 14)
FAMILIES = ("xc7", "xcup")
