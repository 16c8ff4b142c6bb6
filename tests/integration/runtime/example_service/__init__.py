"""A service package with nothing but migrations, for the tests of the plumbing."""
