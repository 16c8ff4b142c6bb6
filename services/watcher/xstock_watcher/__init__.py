"""Sees: one chain's final observations, into its own database and from there to Kafka.

One process per chain. What it publishes is a hint with history behind it: relayer and gateway
may read the same observations again from its database, guards read the chain themselves.
"""
