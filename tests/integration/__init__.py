"""Services and plumbing on real engines."""
