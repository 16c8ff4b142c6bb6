"""The vocabulary of provider faults, the same words for every chain family, and who is struck.

`KINDS` is the only list of them: what each does and which params it takes. Every fault also takes
`methods` (strike only these) and `times` (then lift by itself). A fault names an identity, a
chain and a provider number; what it leaves out, it strikes all of. How a family speaks a fault,
and what it cannot show, is in its own module.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import count
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError


class FaultKind(StrEnum):
    """What a provider can be made to do."""

    STOP = "stop"
    ERROR = "error"
    RATE_LIMIT = "rate_limit"
    HANG = "hang"
    DELAY = "delay"
    LOSE_REPLIES = "lose_replies"
    LAG = "lag"
    STALE = "stale"
    FREEZE_FINALITY = "freeze_finality"
    DROP_BLOCK = "drop_block"
    HIDE_EVENT = "hide_event"
    LIE = "lie"
    REFUSE = "refuse"


class Params(BaseModel):
    """What every fault takes: `methods` struck (empty: all) and how many `times` (None: always)."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    methods: tuple[str, ...] = ()
    times: int | None = Field(default=None, ge=1)

    def hits(self, method: str) -> bool:
        """Whether a call of this name is struck; a REST call also by the last part of its name."""
        return not self.methods or not {method, method.rpartition("/")[2]}.isdisjoint(self.methods)


class RateLimitParams(Params):
    """`retry_after_seconds` goes into the Retry-After header."""

    retry_after_seconds: int = Field(default=1, ge=0)


class DelayParams(Params):
    """`seconds` pass before the request is sent on."""

    seconds: float = Field(gt=0, le=3600)


class DepthParams(Params):
    """`blocks` is how far behind the provider is."""

    blocks: int = Field(ge=1)


class FreezeParams(Params):
    """`at` is the height that stays final; None means the one that is final at the next request."""

    at: int | None = Field(default=None, ge=0)


class ForkParams(Params):
    """`from_number` is the first height of the fork."""

    from_number: int = Field(ge=1)


class HideParams(Params):
    """Every field given must match; `receipts` False hides from event queries only.

    What `topic` is depends on the family, as does what counts as an event query.
    """

    address: str | None = None
    topic: str | None = None
    tx_hash: str | None = None
    receipts: bool = True


class PatchStep(BaseModel):
    """One change to a result: a JSON pointer (`""` is the result itself) and what to do there."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    op: Literal["add", "replace", "remove"]
    path: str = Field(pattern=r"^(/[^/]*)*$")
    value: Any = None


class LieRule(BaseModel):
    """Patches for the results of one `method` whose request params contain the text `where`."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    method: str
    where: str = ""
    patch: tuple[PatchStep, ...] = Field(min_length=1)

    def fits(self, method: str) -> bool:
        """Whether calls of this name are lied to; a REST call also by the last part of its name."""
        return self.method in (method, method.rpartition("/")[2])


class LieParams(Params):
    """The lies to tell."""

    rules: tuple[LieRule, ...] = Field(min_length=1)


class RefuseParams(Params):
    """`error` is a name of the family's catalogue; `value` the number that its text may carry.

    Without `methods` it strikes where the family's nodes say such a thing.
    """

    error: str = Field(min_length=1)
    value: int | None = None


@dataclass(frozen=True, slots=True)
class Kind:
    """What a fault does, as "the provider …", and the params it takes."""

    does: str
    params: type[Params] = Params


KINDS: Final[Mapping[FaultKind, Kind]] = {
    FaultKind.STOP: Kind("is not there (the connection is dropped)"),
    FaultKind.ERROR: Kind("answers HTTP 500"),
    FaultKind.RATE_LIMIT: Kind("answers HTTP 429 in its family's words", RateLimitParams),
    FaultKind.HANG: Kind("accepts the request and never answers"),
    FaultKind.DELAY: Kind("answers late", DelayParams),
    FaultKind.LOSE_REPLIES: Kind("does what is asked, then drops the connection"),
    FaultKind.LAG: Kind(
        "is a consistent node that is `blocks` behind, heads and finality included", DepthParams
    ),
    FaultKind.STALE: Kind(
        "reports true heads but answers everything else from `blocks` behind", DepthParams
    ),
    FaultKind.FREEZE_FINALITY: Kind(
        "lets blocks go on while the final block stays `at` a height (else where it is)",
        FreezeParams,
    ),
    FaultKind.DROP_BLOCK: Kind(
        "follows a fork: other, empty blocks from height `from_number` on", ForkParams
    ),
    FaultKind.HIDE_EVENT: Kind("leaves matching events out", HideParams),
    FaultKind.LIE: Kind("has JSON patches (`rules`) applied to its answers", LieParams),
    FaultKind.REFUSE: Kind("answers one documented `error` of its family, by name", RefuseParams),
}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One provider as one reader sees it."""

    identity: str
    chain: str
    provider: int


@dataclass(slots=True)
class Fault:
    """One fault in force, what it strikes, and what it remembers while it lasts."""

    number: int
    kind: FaultKind
    params: Params
    identity: str | None
    chain: str | None
    provider: int | None
    struck: int = 0
    memory: dict[str, Any] = field(default_factory=dict)

    def strikes(self, endpoint: Endpoint, methods: Iterable[str]) -> bool:
        """Tell whether a request of these methods to this endpoint is struck."""
        return (
            self.identity in (None, endpoint.identity)
            and self.chain in (None, endpoint.chain)
            and self.provider in (None, endpoint.provider)
            and (not self.params.methods or any(map(self.params.hits, methods)))
        )

    def to_json(self) -> dict[str, Any]:
        """Return the fault as the admin API shows it."""
        return {
            "id": self.number,
            "identity": self.identity,
            "chain": self.chain,
            "provider": self.provider,
            "fault": self.kind.value,
            "params": self.params.model_dump(exclude_defaults=True, mode="json"),
            "struck": self.struck,
        }


class FaultRequest(BaseModel):
    """The body of `POST /admin/faults`."""

    model_config = ConfigDict(extra="forbid")
    identity: str | None = None
    chain: str | None = None
    provider: int | None = Field(default=None, ge=0)
    fault: FaultKind
    params: dict[str, Any] = Field(default_factory=dict)


def read_fault(body: object) -> tuple[FaultRequest, Params]:
    """Read what `POST /admin/faults` was sent; raises ValueError naming field, value and rule."""
    try:
        request = FaultRequest.model_validate(body)
        return request, KINDS[request.fault].params.model_validate(request.params)
    except ValidationError as error:
        raise ValueError(_explain(error)) from None


class FaultBook:
    """All faults in force, oldest first."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self._numbers = count(1)

    def add(self, request: FaultRequest, params: Params) -> Fault:
        """Put a fault in force."""
        target = (request.identity, request.chain, request.provider)
        fault = Fault(next(self._numbers), request.fault, params, *target)
        self._faults.append(fault)
        return fault

    def striking(self, endpoint: Endpoint, methods: list[str]) -> list[Fault]:
        """Return the faults that strike this request, counting the strike."""
        if not self._faults:
            return []
        struck = [fault for fault in self._faults if fault.strikes(endpoint, methods)]
        for fault in struck:
            fault.struck += 1
            if fault.struck == fault.params.times:
                self._faults.remove(fault)
        return struck

    def all(self) -> list[Fault]:
        """Return the faults in force."""
        return list(self._faults)

    def remove(self, **wanted: object) -> int:
        """Lift the faults whose fields equal all of `wanted` (none given: all); return how many."""
        lifted = [
            fault
            for fault in self._faults
            if all(str(fault.to_json()[name]) == str(value) for name, value in wanted.items())
        ]
        self._faults = [fault for fault in self._faults if fault not in lifted]
        return len(lifted)

    def in_force(self, fault: Fault) -> bool:
        """Tell whether a fault has not been lifted."""
        return fault in self._faults


def _explain(error: ValidationError) -> str:
    first = error.errors()[0]
    name = ".".join(str(part) for part in first["loc"]) or "body"
    return f"{name}: {first['msg']}, got {first['input']!r}"
