"""The relayer's work, by message: take facts in, ask guards, form batches, send, heal, operate.

Every handler takes its clock, its ports and its queues as arguments and offers single steps
(`tick`, `take`, `heal`); loops live in `entrypoints`. So a simulation runs the same code in
virtual time. `Desk` is the one writer: all facts go through it and are committed in groups.
"""
