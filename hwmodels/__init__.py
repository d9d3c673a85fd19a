"""What FPGA hardware promises numerically and what it costs: formats, datapaths, resource models (standard library + NumPy)."""
