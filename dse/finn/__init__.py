"""Taking a network to FINN: what its compiler accepts, checked before it starts, and the folder that it builds from.

`view.py` is a graph as the rules look at it, `rules.py` the table of them, `quantizer_checks.py` and `graph_checks.py` find what
breaks them, `preflight.py` reports it. `export.py` takes a point of a sweep: `adapt.py` writes the network as FINN reads it,
`classes.py` compares the two, `folder.py` writes the rest. `build_dataflow.py` is the script of that folder; it runs inside
FINN's environment, nothing here imports it, and it imports nothing of this project.
"""
