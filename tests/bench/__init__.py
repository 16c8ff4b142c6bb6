"""Measurements: ratios taken in one run on one machine, and counts that no machine changes."""
