"""What flows back, on PostgreSQL; the suite is `tests/services/supply_guard/returns.py`."""

from tests.services.supply_guard.returns import *  # noqa: F403 - one suite, two memories
