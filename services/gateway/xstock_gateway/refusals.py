"""How the gateway's handlers say no: a reason of the one table, a text, and its figures."""

from collections.abc import Mapping, Sequence


class ApiRefused(Exception):
    """A refusal with a reason of `xstock_wire.reasons`.

    Every dynamic part of `text` is in `metadata` too. `violations` are (field, text) pairs.
    """

    def __init__(
        self,
        reason: str,
        text: str,
        metadata: Mapping[str, object] | None = None,
        violations: Sequence[tuple[str, str]] = (),
    ) -> None:
        super().__init__(text)
        self.reason = reason
        self.text = text
        self.metadata = {key: str(value) for key, value in (metadata or {}).items()}
        self.violations = tuple(violations)


def field_refused(reason: str, field: str, value: object, remedy: str) -> ApiRefused:
    """A refusal of one field: names the field, the value and the remedy."""
    text = f"{field}: {value!r} is not accepted; {remedy}"
    return ApiRefused(reason, text, {"field": field, "value": value}, [(field, remedy)])
