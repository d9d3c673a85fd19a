"""Image workloads: data, network, training and checkpoint of each."""
