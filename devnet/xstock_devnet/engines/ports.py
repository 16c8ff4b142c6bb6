"""Free loopback ports for programs that must be told their port before they start.

Ports are picked below the range from which systems take the local ends of outgoing connections: a
broker that binds seconds after it was told a port would otherwise now and then find it taken by
somebody's client. A picked port stays reserved for a while among all processes that pick here: the
picker holds the UDP port of the same number, which nothing here serves on and the kernel frees when
the picker ends. Without that, two test workers would now and then tell two chains the same port,
and both would send to whichever came first.
"""

import atexit
import socket
from collections import deque

from xstock_runtime.clock import Randomness, SystemRandomness

PORT_MIN = 15_000
PORT_END = 32_000
TRIES_PER_PORT_MAX = 200
RESERVED_MAX = 64
"""How many ports a process keeps reserved: the last; each is bound soon after it was picked."""

_reserved: deque[socket.socket] = deque()


def free_ports(count: int, randomness: Randomness | None = None) -> list[int]:
    """Return `count` different loopback TCP ports that nothing listens on at this moment.

    Raises OSError if that many cannot be found. A stranger's program may still take one before it
    is used, which then shows as the program's own "address in use".
    """
    chance = randomness or SystemRandomness()
    chosen: set[int] = set()
    for _ in range(count * TRIES_PER_PORT_MAX):
        port = int(chance.uniform(PORT_MIN, PORT_END))
        if port not in chosen and _is_free(port) and _reserve(port):
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


def _reserve(port: int) -> bool:
    lock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        lock.bind(("127.0.0.1", port))
    except OSError:
        lock.close()
        return False
    _reserved.append(lock)
    while len(_reserved) > RESERVED_MAX:
        _reserved.popleft().close()
    return True


@atexit.register
def _give_back() -> None:
    for lock in _reserved:
        lock.close()
    _reserved.clear()
