"""The FINN compatibility mode: the resource and cycle estimates of FINN v0.10.1, number for number.

It exists to compare with FINN, not to be right: it counts no flip-flops and no carry chains, no LUTs for RTL matrix
units, and nothing at all for pooling, additions and label selection; on FINN's own CNV w1a1 the LUTs of matrix units are
49 % off on average. Each module names what is known wrong about its operators. The calibrated mode is elsewhere.

`rows.cost_row` costs a CSV row, `attrs.cost_attrs` a FINN node, `folding.fold` chooses PE and SIMD for a frame rate.
"""
