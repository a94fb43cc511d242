"""What README and docs claim, measured. `python -m benchmarks --help` lists them."""
