"""Written by ``python -m hwmodels.calibration.fit_operators``: change the table or the form, not this file."""

FACTORS = {
    "padding": 3.7053,
    "padding/counter": 0.342,
    "padding/direction": 1.8483,
    "label/sum": 1.0149,
    "label/place": 0.3011,
    "label": 4.395,
    "label/counter": 0.3036,
    "label/adder": 1.484,
}
"""LUT6 per count, by feature (see `hwmodels.rtl.operator_structure`): fitted to the rows to fit."""

# relative errors (median, 90th percentile): in sample; rows that no fit saw
PADDING_IN_SAMPLE = 0.0296, 0.1059
PADDING_TEST = 0.0804, 0.1393
PADDING_BASIS = "operator_units.csv, 18 paddings, LUTs after synthesis, tested on 11 others"
LABEL_IN_SAMPLE = 0.0150, 0.0464
LABEL_TEST = 0.0246, 0.0785
LABEL_BASIS = "operator_units.csv, 20 label selections, LUTs after synthesis, tested on 14 others"

# ranges of the rows to fit, both ends included
PADDING_COUNTERS = (3, 11)
LABEL_BITS = (7, 24)
LABELS = (5, 1000)
LABEL_LANES = (1, 16)
FAMILIES = ("xc7", "xcup")
