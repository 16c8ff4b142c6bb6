"""Plumbing that every service stands on and that knows no bridge words.

Kafka, PostgreSQL, gRPC, retry, clocks, logging, metrics and settings, each with the faults of
the field already answered (at-least-once with authenticity, outbox and inbox, fenced leases,
health by progress, graceful drain). Nothing here may mention a transfer, a chain or an amount:
if a module needs such a word, it belongs one floor up.
"""
