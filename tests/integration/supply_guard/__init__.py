"""The supply-guard on real PostgreSQL."""
