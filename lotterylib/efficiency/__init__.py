"""The cost of a network: multiply-adds, sizes, latency and memory."""
