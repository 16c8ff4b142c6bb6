"""The local world: real engines, local chains, RPC proxy and every service as a child process.

Nothing in the product imports this package; it exists to run the house on one machine.
"""
