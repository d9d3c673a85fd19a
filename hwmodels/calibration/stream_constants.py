"""Written by ``python -m hwmodels.calibration.fit_streams``: change the table or the form, not this file."""

FACTORS = {
    "control": 0.6566,
    "control bit": 1.5449,
    "converter": 0.5882,
    "converter bit": 1.4706,
    "fifo": 3.0177,
    "fifo bit": 1.1002,
}
"""LUT6 per counted bit, and of each unit besides (see `hwmodels.primitives.stream`): fitted to the rows to fit."""

# relative errors (median, 90th percentile): in sample; rows that no fit saw; memories, which are derived
IN_SAMPLE = 0.0149, 0.0611
TEST = 0.0232, 0.0956
MEMORIES = 0.0270, 0.1250
BASIS = "stream_units.csv, 18 units, LUTs after synthesis, tested on 14 others"
MEMORY_BASIS = "stream_units.csv, 11 memories, LUTs after synthesis"

# the widest word and the most words of all rows: of FIFOs, converters and forks; of memories
MOST = (64, 2048)
MEMORY_MOST = (24, 600)
FAMILIES = ("xc7", "xcup")
