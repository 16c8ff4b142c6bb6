"""The supply-guard: one of N independent judges of every release.

It reads every chain through its own providers, keeps its own double-entry ledger, compares
exposure with what custody attests, and signs a release or says why not. It holds a key and a
database of its own and believes nobody: not the relayer, not the watchers, not Kafka.
"""
