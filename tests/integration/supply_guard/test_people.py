"""What people may decide, on PostgreSQL; the suite is `tests/services/supply_guard/people.py`."""

from tests.services.supply_guard.people import *  # noqa: F403 - one suite, two memories
