"""What the parts and the whole cost on this machine: `python -m tests.benchmarks`."""
