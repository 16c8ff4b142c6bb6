"""How the world reaches the gateway: the gRPC API and the Kafka topics."""
