"""Reading QONNX and QCDQ files into operators and formats. The files are untrusted: nothing in them is executed.

`graph.py` loads a file into plain values, `quantizers.py` says which format a quantizer node has, `walk.py` follows the
tensors from input to output, `tensors.py` are the kinds of tensor met on the way, `names.py` turns node names into the
names of layers. The way in is :func:`dse.onnx_network.read_network`.
"""
