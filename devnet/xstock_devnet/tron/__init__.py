"""A local Tron chain: java-tron's HTTP API in front of an anvil that executes the contracts.

Everything a client sees (transactions, ids, signatures, expiry, fees, energy, pending and
solidified views, error texts) follows a recorded java-tron; see README.md for what differs. It is
a stand-in for tests and the devnet, never for a node.
"""
