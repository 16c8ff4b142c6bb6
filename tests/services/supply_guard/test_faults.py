"""The guard's promises on its in-process memory; the suite is `faults.py`."""

from tests.services.supply_guard.faults import *  # noqa: F403 - one suite, two memories
