"""Priority fees as recent blocks took them, in micro-lamports per compute unit."""

from typing import Any, Final

from xstock_chains.solana.rpc import dict_of, list_of, number_of

_PERCENTILE: Final = 75


def usual_fee(answer: Any) -> int:
    """What three of four recent blocks would have taken, from getRecentPrioritizationFees."""
    fees = sorted(
        number_of(dict_of(one, "fee").get("prioritizationFee"), "prioritizationFee")
        for one in list_of(answer, "getRecentPrioritizationFees")
    )
    return fees[(len(fees) - 1) * _PERCENTILE // 100] if fees else 0
