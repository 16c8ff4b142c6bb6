"""The EVM adapter on real local nodes."""
