"""TON: one Tolk contract per asset is jetton minter and bridge, read through toncenter's API.

Every transaction of a minter links to the one before it, so a reader follows the account's own
chain and cannot miss one unseen. Facts and promises: docs/chains/ton.md.
"""
