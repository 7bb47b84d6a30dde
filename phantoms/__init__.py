"""Specimens (element, z, y, x) drawn from a seed, and simulated acquisitions of them."""
