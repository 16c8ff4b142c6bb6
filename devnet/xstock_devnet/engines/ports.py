"""Free loopback ports for programs that must be told their port before they start.

Ports are picked below the range from which systems take the local ends of outgoing connections: a
broker that binds seconds after it was told a port would otherwise now and then find it taken by
somebody's client.
"""

import socket

from xstock_runtime.clock import Randomness, SystemRandomness

PORT_MIN = 15_000
PORT_END = 32_000
TRIES_PER_PORT_MAX = 200


def free_ports(count: int, randomness: Randomness | None = None) -> list[int]:
    """Return `count` different loopback TCP ports that nothing listens on at this moment.

    Raises OSError if that many cannot be found. Another process may still take one before it is
    used, which then shows as the program's own "address in use".
    """
    chance = randomness or SystemRandomness()
    chosen: set[int] = set()
    for _ in range(count * TRIES_PER_PORT_MAX):
        port = int(chance.uniform(PORT_MIN, PORT_END))
        if port not in chosen and _is_free(port):
            chosen.add(port)
        if len(chosen) == count:
            return list(chosen)
    raise OSError(f"no {count} free ports between {PORT_MIN} and {PORT_END} on loopback")


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
