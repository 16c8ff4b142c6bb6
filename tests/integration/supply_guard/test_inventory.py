"""Issuer inventory on PostgreSQL; the suite is `inventory.py`."""

from tests.services.supply_guard.inventory import *  # noqa: F403 - one suite, two memories
