"""One RPC proxy process between the services and every local chain, where faults are put in.

Each reader of a chain has providers of its own (`/<identity>/<chain>/<n>`), and each can be made to
fail, lag or lie alone. `faults` holds the vocabulary, `evm` how one chain family speaks it,
`server` the process, `admin` the client that tests and the demo use.
"""
