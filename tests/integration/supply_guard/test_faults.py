"""The guard's promises on PostgreSQL; the suite is `tests/services/supply_guard/faults.py`."""

from tests.services.supply_guard.faults import *  # noqa: F403 - one suite, two memories
