"""One suite for every implementation of the chain ports."""
