"""One RPC proxy process between the services and every local chain, where faults are put in.

Each reader of a chain has providers of its own (`/<identity>/<chain>/<n>`), and each can be made to
fail, lag or lie alone. `faults` holds the vocabulary; `family` what a chain family must answer, one
module each (`evm`, `solana`, `tron`, `ton`); `server` the process, which knows no family; `admin`
the client that tests, the demo and the command line use.
"""
