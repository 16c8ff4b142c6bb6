"""What people may decide, on the guard's in-process memory; the suite is `people.py`."""

from tests.services.supply_guard.people import *  # noqa: F403 - one suite, two memories
