"""Ethereum, BNB and Mantle: one adapter for every chain that speaks Ethereum JSON-RPC.

Importing this package costs nothing; its modules import web3 and coincurve, so name them only
where such a chain is configured. Everything Ethereum-shaped stays in here.
"""
