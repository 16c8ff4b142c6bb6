"""What a supply-guard does, one message a module; loops and transports live in entrypoints."""
