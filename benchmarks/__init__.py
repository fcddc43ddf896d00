"""Speed and sampling efficiency on standard problems: ``uv run python -m benchmarks``."""
