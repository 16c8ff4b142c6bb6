"""The watcher's loops and its gRPC service."""
