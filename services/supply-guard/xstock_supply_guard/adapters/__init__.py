"""Where the guard's ports meet PostgreSQL, Kafka, keys and chains."""
