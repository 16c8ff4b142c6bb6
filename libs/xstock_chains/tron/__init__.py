"""Tron: the Solidity contracts over java-tron's HTTP interface, with our own thin client.

Importing this package costs nothing. Transactions are built and serialised here and never
signed as a node returned them; only what the solidity interface shows is final.
"""
