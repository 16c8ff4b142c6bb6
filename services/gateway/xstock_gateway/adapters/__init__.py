"""Where the gateway's ports meet PostgreSQL, Kafka records, gRPC clients and chains."""
