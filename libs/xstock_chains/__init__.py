"""Chains behind ports: what the services may ask of any chain, and the families that answer."""
