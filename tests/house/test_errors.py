"""Every reason that a caller can meet is explained, and docs/errors.md is what the table says."""

import ast
import re

from tests.house import sources
from xstock_core.invariants import InvariantId
from xstock_core.refusal import Reason
from xstock_runtime.grpc_errors import RUNTIME_ROWS
from xstock_wire.reasons import API_REASONS, error_table, explain, explain_wait, markdown

WAIT = re.compile(r'WaitingFor\(\s*"([A-Z_]+)"')


def test_errors_page__is_what_the_table_generates() -> None:
    assert sources.text("docs/errors.md") == "\n".join(markdown()) + "\n"


def test_errors_page__has_the_anchor_that_every_help_link_names() -> None:
    headings = set(re.findall(r"^### (\S+)$", sources.text("docs/errors.md"), re.MULTILINE))
    links = {row.reason.lower().replace("_", "-") for row in API_REASONS}
    assert links - headings == set()


def test_reasons__every_wait_of_the_core_is_explained() -> None:
    spoken = set(WAIT.findall(sources.text("libs/xstock_core/transfer.py")))
    assert {"VERDICTS", "SIGNATURES", "DESTINATION_NOT_FINAL"} <= spoken
    spoken |= {reason.value for reason in Reason} | {promise.value for promise in InvariantId}
    assert {reason for reason in spoken if explain_wait(reason) is None} == set()


def test_reasons__every_refusal_of_the_gateway_is_in_the_table() -> None:
    raised = set()
    for path in sources.python_files("services"):
        if not path.startswith("services/gateway/"):
            continue
        for node in ast.walk(sources.tree(path)):
            if isinstance(node, ast.Call) and sources.dotted(node.func) in REFUSALS and node.args:
                first = node.args[0]
                if isinstance(first, ast.Constant):
                    raised.add(first.value)
    assert {"REQUEST_ID_REUSED", "SLOW_CONSUMER", "SERVICE_UNAVAILABLE"} <= raised
    assert raised - {row.reason for row in API_REASONS} == set()


REFUSALS = frozenset({"ApiRefused", "CallRefused", "field_refused"})


def test_reasons__rows_of_the_runtime_say_the_same_as_the_table() -> None:
    table = error_table()
    assert {code: table.rows.get(code) for code in RUNTIME_ROWS} == dict(RUNTIME_ROWS)


def test_reasons__a_word_that_is_none__is_not_explained() -> None:
    assert explain("NO_SUCH_WORD") is None
    assert explain_wait("REQUEST_ID_REUSED") is None
