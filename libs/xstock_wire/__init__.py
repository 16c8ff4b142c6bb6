"""The only shared language between services: generated code, and its codec to the core."""
