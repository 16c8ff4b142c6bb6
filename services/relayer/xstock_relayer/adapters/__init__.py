"""What touches the world: the books in PostgreSQL or memory, guards and watchers over gRPC."""
