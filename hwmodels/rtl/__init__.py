"""The compute unit of a datapath as synthesizable Verilog-2001, generated as text from the same frozen values as its cost.

One file per part: `multiplier`, `aligner`, `lane` (both, with the codes taken apart), `tree`, `accumulator`, `unit` (all of
it), `reference` (what the unit must compute, from the codec's values), `testbench`, `simulate` (a netlist on vectors).
Sums that are cut into tiles or scaled blocks: `scale`, `outer` (what stands on top of the inner sums), `segment` (all of it).
Between the units: `requantize` (with `constant` and `rounding`), `thresholds`, `hadamard`, `elementwise`, `comparator`.
What a generator's text is made of, for the cost model, stands beside it in `structure` and `*_structure`.
"""
