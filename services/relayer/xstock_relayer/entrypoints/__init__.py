"""What drives the handlers: loops, the Kafka consumer, the gRPC servers."""
