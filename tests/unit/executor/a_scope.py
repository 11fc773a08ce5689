"""A play as expressions see it, for the tests of the language."""

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from libs.expressions import ExpressionError, Scope, StepView, compile_value

NOW = datetime(2025, 1, 31, 9, 5, 7, 120_000, tzinfo=UTC)
PREV: dict[str, Any] = {
    "args": {"name": "Ada", "count": 3, "total": 2.0, "on": False, "headers": {"content-type": "text/plain"}},
    "fetch": StepView(
        out={"items": [{"name": "first"}, {"name": "second"}], "statusCode": 200}, state="DONE"
    ),
    "bad": StepView(out={"note": "x"}, state="FAIL", error="boom"),
    "child": StepView(out={"state": "DONE-INSIDE", "error": None}, state="FAIL", error="outer"),
    "off": StepView(state="FILTERED"),
    "gate": StepView(out={}, state="DONE", approval={"decision": "approved"}),
    "plain": [10, [20, 30]],
}


def a_scope(**changes: Any) -> Scope:
    scope = Scope(prev=PREV, flow_id="flow1", play_id="play1", company_id="acme", now=NOW, seed="play1:ref")
    return msgspec.structs.replace(scope, **changes)


def value_of(text: Any, **changes: Any) -> Any:
    return compile_value(text).evaluate(a_scope(**changes))


def of(expression: str, **changes: Any) -> Any:
    return value_of(f"{{{{ {expression} }}}}", **changes)


def error_of(text: Any, **changes: Any) -> ExpressionError:
    with pytest.raises(ExpressionError) as caught:
        value_of(text, **changes)
    return caught.value
