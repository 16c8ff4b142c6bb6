"""The plumbing on real PostgreSQL and Kafka."""
