"""What toncenter's API and wallets say when they refuse, in our error classes.

Answers are matched by HTTP status; where one status means several things (500), by the node's
texts, each with the recorded answer it was seen in (toncenter v2/v3 error pages and
`sendBoc` answers). Wallet exit codes: highload-wallet-contract-v3, `errors.func`.
"""

import re
from typing import Final

from xstock_runtime.errors import Ambiguous, InvalidMessage, ServiceError, Transient

_EXIT_CODE: Final = re.compile(r"exitcode=(-?\d+)")
_REFUSED_EXTERNAL: Final = "cannot apply external message"
_NOT_A_BAG: Final = "not a valid bag of cells"
_UPSTREAM: Final = frozenset({500, 502, 503, 504, 542})
"""504 `LITE_SERVER_NETWORK timeout`, 542 and 500 `LITE_SERVER_UNKNOWN`: the API's own node."""
QUERY_USED: Final = 36
CREATED_AT: Final = 35


def refused(status: int, said: str, host: str, retry_after: str = "") -> Transient:
    """An HTTP answer that is not 200, for any request but a send."""
    facts = {"host": host, "status": status, "said": said[:200]}
    if status == 429 or "ratelimit exceed" in said.lower():
        wait = float(retry_after) if retry_after.isdigit() else None
        text = f"{host} asks to slow down: {said[:100]}"
        return Transient("RPC_RATE_LIMITED", text, facts, retry_after_seconds=wait)
    if status in (401, 403):
        remedy = "give a valid key in the node's address (#api_key=…)"
        return Transient(
            "RPC_KEY_REFUSED", f"{host} refuses the key: {said[:100]}; {remedy}", facts
        )
    code = "RPC_UPSTREAM" if status in _UPSTREAM else "RPC_HTTP_ERROR"
    return Transient(code, f"{host}: HTTP {status} {said[:200]}", facts)


def send_refused(status: int, said: str, host: str, retry_after: str = "") -> ServiceError:
    """What a refused send means; only the wallet's own no (an exit code) says something sure."""
    facts = {"host": host, "status": status, "said": said[:200]}
    if _NOT_A_BAG in said:
        return InvalidMessage("BROADCAST_MALFORMED", f"{host} cannot read the message", facts)
    found = _EXIT_CODE.search(said)
    if _REFUSED_EXTERNAL in said and found is not None:
        return _by_exit_code(int(found[1]), host, facts)
    failed = refused(status, said, host, retry_after)
    if failed.code in ("RPC_RATE_LIMITED", "RPC_KEY_REFUSED"):
        return failed
    return Ambiguous("BROADCAST_REFUSED", failed.message, facts)


def _by_exit_code(code: int, host: str, facts: dict[str, object]) -> ServiceError:
    facts = {**facts, "exit_code": code}
    if code == QUERY_USED:
        text = f"{host}: the wallet has done this query id already; read its status"
        return Ambiguous("QUERY_USED", text, facts)
    if code == CREATED_AT:
        text = f"{host}: created_at is outside the wallet's window now; read its status"
        return Ambiguous("QUERY_OUT_OF_TIME", text, facts)
    return Ambiguous("BROADCAST_REFUSED", f"{host}: the wallet refuses with exit {code}", facts)
