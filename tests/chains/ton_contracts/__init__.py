"""The TON contracts, attacked in TON's own virtual machine."""
