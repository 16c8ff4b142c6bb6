"""What every chain that runs our Solidity contracts shares: the contracts, not the nodes.

ABI words, event topics and what they prove, the signed batch, burn calls, contract artifacts and
keys. The EVM and the Tron family stand on it; how a node is asked, what is final and how a
transaction is made and sent is theirs. Nothing here imports web3 or opens a connection.
"""
