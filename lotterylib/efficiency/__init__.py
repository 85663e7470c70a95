"""What a network costs: multiply-adds, sizes, latency and memory."""
