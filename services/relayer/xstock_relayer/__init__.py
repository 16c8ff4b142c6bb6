"""The relayer: observations in, authorized releases out, destination transactions sent once."""
