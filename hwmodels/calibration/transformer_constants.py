"""Written by ``python -m hwmodels.calibration.fit_transformer``: change the table or the form, not this file."""

FACTORS = {
    "absorbed": 0.0385,
    "carry": 0.4103,
    "chain": 1.0203,
    "converter": 0.6519,
    "exponent": 0.5269,
    "logic/3": 0.3975,
    "logic/5": 0.9181,
    "logic/6": 1.1575,
    "reduce": 0.2286,
    "stage": 12.9367,
}
"""LUT6 per counted bit, by feature (see `hwmodels.primitives.transformer_units`): fitted to the rows to fit."""

# relative errors (median, 90th percentile): in sample; rows that no fit saw; gates among them; by kind of unit
IN_SAMPLE = 0.0128, 0.0360
TEST = 0.0091, 0.0222
GATES = 0.0328, 0.0903
# gate: 0.0328, 0.0903 (6 units)
# layer_norm: 0.0094, 0.0193 (4 units)
# rms_norm: 0.0171, 0.0213 (3 units)
# rotary: 0.0127, 0.0318 (5 units)
# scale: 0.0075, 0.0130 (5 units)
# shift_scale: 0.0151, 0.0151 (1 units)
# softmax: 0.0059, 0.0231 (6 units)
BASIS = "transformer_units.csv, 40 units, LUTs after synthesis, tested on 30 others"

RANGES = {
    "bits": (4, 20),
    "words": (8, 512),
    "lanes": (1, 4),
}
"""Ranges of the rows to fit, both ends included: bits of a value in fixed point, words of a vector, lanes."""

FAMILIES = ("xc7", "xcup")
