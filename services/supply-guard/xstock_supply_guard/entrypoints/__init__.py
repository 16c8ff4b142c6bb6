"""Where the world comes in: loops over the chains, and the gRPC servers."""
