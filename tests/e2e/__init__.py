"""The bridge as a whole, as real processes on real engines."""
