"""Service handlers and plumbing with fakes."""
