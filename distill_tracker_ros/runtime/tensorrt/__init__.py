"""Bundles on NVIDIA GPUs: plans are built once on the machine that flies, kept, checked and run."""
