"""Free loopback ports for engines that must be told their port before they start."""

import socket


def free_ports(count: int) -> list[int]:
    """Return `count` different loopback TCP ports that nothing listened on a moment ago.

    All are held open together while they are picked, so they differ; another process may still
    take one before it is used, which then shows as the engine's own "address in use".
    """
    sockets = [socket.socket(socket.AF_INET, socket.SOCK_STREAM) for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]
    finally:
        for each in sockets:
            each.close()
