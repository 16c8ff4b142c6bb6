"""A local Solana: the real programs in LiteSVM, behind Solana's own JSON-RPC, with faults by hand.

What it promises: signatures, fees, blockhash age (150 blocks) and duplicates are checked as a
validator checks them; transactions run in the system, Token, Token-2022, associated token, memo
and lookup table programs that LiteSVM carries; every read names a commitment and sees the accounts
of exactly that block; errors carry the codes, messages and data that a real agave 4.2 validator
answered when it was recorded. A dropped block takes its transactions, balances and index entries
with it, to the byte.

What it leaves out: votes, stake, rewards other than the leader's fees, gossip, other nodes, durable
nonces, `jsonParsed` of token instructions and accounts (shown raw, as a node shows what it cannot
parse), compressed account data (answered as plain base64). Compute units and log lines differ from
mainnet's where LiteSVM carries newer programs. State lives in memory.

Besides the programs of every chain there is one of a stranger, `caller.CALLER_PROGRAM`, that calls
what it is told, so burns and markers can also be made in inner instructions.

The control API, `POST /devnet/<command>` with a JSON body: mine {blocks}, automine {on},
finalize {}, freeze_finality {on}, reorg {depth}, drop_tx {tx}, break_finality {depth},
fund {address, amount}, warp {seconds}, state {}; for Solana alone prune {below} (forget history
before a slot) and behind {slots} (call itself unhealthy and refuse preflighted sends; 0: healthy).
"""
