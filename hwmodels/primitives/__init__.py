"""Cost formulas of single circuits, one family a file; none of them knows the others."""
