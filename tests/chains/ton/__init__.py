"""TON: its adapter, its contracts and the local chain they are tested on."""
