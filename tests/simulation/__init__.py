"""The whole system in one process: real handlers, fake chains, virtual time, one seed."""
