"""Taking a quantized network out of the search: write the file, execute it, compare it with the model, cost it again.

To add an exporter: a module like `qonnx.py`, and a line in each of :data:`dse.export.formats.EXPORTERS` (what it can hold),
:data:`dse.export.execute.EXECUTORS` (what executes its files) and :data:`dse.export_point.WRITERS` (its function).
"""
