"""Taking a quantized network out of the search: write the file, execute it, compare it with the model, cost it again.

`write.py` follows the network node by node (`emit.py`, `floating.py`) in a dialect (`quantizers.py`, `scales.py`), `execute.py`
runs a file, `layerwise.py` compares it with the model within `tolerance.py`, `gate.py` reports.

To add a kind of node: a line in :data:`dse.export.emit.EMITTERS`, or for a floating-point part in
:data:`dse.export.floating.FLOATING` and :data:`dse.export.tolerance.RULES`. To add an exporter: a module like `qonnx.py`, and a
line in each of :data:`dse.export.formats.EXPORTERS` (what it can hold), :data:`dse.export.execute.EXECUTORS` (what executes its
files) and :data:`dse.export_point.WRITERS` (its function).
"""
