"""Facts as the three speakers would tell them, about transfers numbered by their counter."""

from dataclasses import replace

from tests.builders import a_block, a_message, a_place, an_address, id_of
from xstock_core.ids import Domain, TransferId
from xstock_core.message import TransferMessage
from xstock_core.observation import TxRef
from xstock_gateway.ports import Coverage
from xstock_gateway.view import BurnBecameFinal, BurnWasSeen, SaidByRelayer, StepSeen

PHASES = ("FINAL", "REVIEWING", "AUTHORIZED", "RELEASING", "RELEASED")
DEPLOYMENT = "test"


def message_of(counter: int = 1) -> TransferMessage:
    """The transfer with this counter; every third goes from BNB."""
    source = Domain.BNB if counter % 3 == 0 else Domain.ETHEREUM
    return a_message(counter=counter, source=source, recipient=an_address(100 + counter % 5))


def transfer(counter: int = 1) -> TransferId:
    """Its id."""
    return id_of(message_of(counter))


def burn_tx(counter: int = 1) -> TxRef:
    """The transaction that burned it."""
    return a_place(message_of(counter).source, 100 + counter).tx


def seen(
    counter: int = 1, at_ms: int = 1_000, *, behind: int = 2, gone: bool = False
) -> BurnWasSeen:
    """The watcher saw the burn, or saw it vanish."""
    message = message_of(counter)
    return BurnWasSeen(
        transfer_id=id_of(message),
        message=message,
        tx=burn_tx(counter),
        block_number=100 + counter,
        blocks_behind_final=behind,
        vanished=gone,
        at_ms=at_ms,
    )


def final(counter: int = 1) -> BurnBecameFinal:
    """The watcher's final observation of the burn."""
    message = message_of(counter)
    place = a_place(message.source, 100 + counter)
    return BurnBecameFinal(id_of(message), message, an_address(200 + counter % 7), place)


def said(counter: int = 1, revision: int = 1, phase: str = "", **changes: object) -> SaidByRelayer:
    """The relayer's word number `revision`; by default the phase that a plain road has then."""
    message = message_of(counter)
    phase = phase or PHASES[min(revision, len(PHASES)) - 1]
    done = phase in ("RELEASED", "REFUNDED", "REORGED")
    step = StepSeen("BURN", int(message.source), burn_tx(counter), a_block(message.source), 5, "")
    word = SaidByRelayer(
        transfer_id=id_of(message),
        message=message,
        revision=revision,
        phase=phase,
        reason="" if done else "VERDICTS",
        until=0,
        who="" if done else "NOBODY",
        funds_at="DESTINATION" if phase == "RELEASED" else "IN_FLIGHT",
        terminal=done,
        steps=(step,),
        at_ms=1_000 + revision,
    )
    return replace(word, **changes)  # type: ignore[arg-type]


def covered(chain: Domain = Domain.ETHEREUM, number: int = 100, at_ms: int = 1_000) -> Coverage:
    """How far a chain was read."""
    return Coverage(chain, a_block(chain, number), number + 5, at_ms)
