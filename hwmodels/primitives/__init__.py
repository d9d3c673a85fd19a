"""Cost formulas, one family a file.

The basic circuits (multiplier, adder_tree, carry, dsp_packing, memory, scale; operands for the widths) know nothing
of each other but widths and carry blocks; the composed ones (requantize, window, stream, elementwise, hadamard) are made of them.
What a layer consists of is put together one level up (`hwmodels.compute_cost`), what a network costs in `hwmodels.estimate`.
"""
