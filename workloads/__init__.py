"""What is to be computed and how good it still is: workloads, quantization through Brevitas, metrics."""
