"""The pure rules of the bridge: amounts, ids, messages, the transfer machine, the ledger.

Standard library only. No clock, no randomness, no I/O: whatever the rules need to know is
an argument, whatever they decide is a value.
"""
