"""Where the watcher's ports meet PostgreSQL and Kafka."""
