"""Attestations, redemptions and openings in memory; the suite is `collateral.py`."""

from tests.services.supply_guard.collateral import *  # noqa: F403 - one suite, two memories
