"""The command line by itself: arguments, settings, exit codes, output; a gateway that is a fake."""
