"""Measures a whole Nurture on this machine beside a bare batched pipeline and the floors under both. `python -m bench --help`."""
