"""A local Solana: the real programs in LiteSVM, behind Solana's own JSON-RPC, with faults by hand.

What it promises: signatures, fees, blockhash age (150 blocks) and duplicates are checked as a
validator checks them; transactions run in the system, Token, Token-2022, associated token, memo
and lookup table programs that LiteSVM carries; every read names a commitment and sees the accounts
of exactly that block; errors carry the codes, messages and data that a real agave 4.2 validator
answered when it was recorded. A dropped block takes its transactions, balances and index entries
with it, to the byte.

What it leaves out: votes, stake, rewards other than the leader's fees, gossip, other nodes, durable
nonces, and `jsonParsed` of token instructions (a real node falls back to the same raw form for
programs it does not know). Compute units differ from mainnet's by the versions of the programs:
LiteSVM carries newer, cheaper ones. State lives in memory.

The control API, `POST /devnet/<command>` with a JSON body: mine, automine, finalize,
freeze_finality, reorg, drop_tx, break_finality, fund, warp, state, and for
Solana alone prune (forget history below a slot) and behind (call itself unhealthy).
"""
