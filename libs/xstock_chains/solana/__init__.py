"""The Solana family: Token-2022 mints under an SPL multisig of the guards, no program of ours.

A release is one atomic transaction that the guards sign themselves; what makes it happen once
is a marker account that nobody can close. Bytes are built and read by hand (`wire`), the node is
asked by a thin JSON-RPC client (`rpc`), and a block counts only when it is linked to its parent
(`blocks`). docs/chains/solana.md says what the adapter promises and why.
"""
