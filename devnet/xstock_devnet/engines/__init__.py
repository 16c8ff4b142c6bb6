"""Real engines from package managers: PostgreSQL, Kafka, anvil, Node, as child processes.

Each engine listens on a free loopback port, keeps its data in the folder it is given, can be
stopped, killed and started again on the same port and data, and dies with the process that
started it. Nothing here is imported by a service; services get addresses by their environment.
"""
