"""Permits whose family needs no terms of its own: whatever is given as terms is refused."""

from xstock_core.release import ReleaseBatch
from xstock_runtime.errors import InvalidMessage


def refuse_terms(batch: ReleaseBatch) -> None:
    """Raise InvalidMessage unless the batch's terms are empty."""
    if batch.terms:
        text = (
            f"terms: {batch.terms.hex()[:64]!r} given for {batch.destination.name}, whose contract "
            "enforces deadline and guard set; leave them out"
        )
        raise InvalidMessage("TERMS_REFUSED", text, {"terms": batch.terms.hex()})
