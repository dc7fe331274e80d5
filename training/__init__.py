"""Distil small trackers in PyTorch and export them as model bundles. `python -m training --help`."""
