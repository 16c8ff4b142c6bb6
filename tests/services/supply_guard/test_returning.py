"""What flows back, on the guard's in-process memory; the suite is `returns.py`."""

from tests.services.supply_guard.returns import *  # noqa: F403 - one suite, two memories
