"""Faults that cross chain families, on real local chains with the services' handlers."""
