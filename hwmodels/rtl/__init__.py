"""The compute unit of a datapath as synthesizable Verilog-2001, generated as text from the same frozen values as its cost.

One file per part: `multiplier`, `aligner`, `lane` (both, with the codes taken apart), `tree`, `accumulator`, `unit` (all of
it), `reference` (what the unit must compute, from the codec's values), `testbench`, `simulate` (a netlist on vectors).
"""
