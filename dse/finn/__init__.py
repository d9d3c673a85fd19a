"""Taking a network to FINN: what its compiler accepts, checked before it starts.

`view.py` is a graph as the rules look at it, `rules.py` the table of them, `quantizer_checks.py` and `graph_checks.py` find what
breaks them, `preflight.py` reports it.
"""
