"""Arguments of a tool are checked against its schema, in linear time and without asking anybody."""

import time
from datetime import UTC, datetime
from typing import Any

import pytest

from libs.common.errors import Invalid
from libs.common.messages.channel import ChannelRoute
from services.gateway.mcp.arguments import ArgumentChecks

NOW = datetime(2026, 1, 1, tzinfo=UTC)
MATCHED_S_MAX = 20.0


def tool(schema: dict[str, Any] | None, id: str = "r" * 24) -> ChannelRoute:
    return ChannelRoute(id=id, name="x", tool_name="x", input_schema=schema, created_at=NOW, updated_at=NOW)


def of(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


def test_without_a_schema_everything_fits() -> None:
    ArgumentChecks().check(tool(None), {"a": [1, {"b": None}]})


@pytest.mark.parametrize(
    ("schema", "args", "said"),
    [
        (of(a={"type": "integer"}), {"a": "1"}, "a: '1' is not of type 'integer'"),
        (
            of(a={"type": "array", "items": {"minimum": 3}}),
            {"a": [3, 2]},
            "a.1: 2 is less than the minimum of 3",
        ),
        (of(a={}), {}, "arguments: 'a' is a required property"),
        (of(a={"pattern": "^[a-z]+$"}), {"a": "A1"}, "a: 'A1' does not match '^[a-z]+$'"),
        (
            {"patternProperties": {"^n_": {"type": "number"}}},
            {"n_a": "x"},
            "n_a: 'x' is not of type 'number'",
        ),
        (
            {"$defs": {"n": {"type": "null"}}, **of(a={"$ref": "#/$defs/n"})},
            {"a": 1},
            "a: 1 is not of type 'null'",
        ),
    ],
)
def test_what_does_not_fit_is_named(schema: dict[str, Any], args: dict[str, Any], said: str) -> None:
    with pytest.raises(Invalid) as refused:
        ArgumentChecks().check(tool(schema), args)
    assert refused.value.message == said


def test_a_pattern_that_would_search_for_ever_does_not() -> None:
    began_s = time.monotonic()
    with pytest.raises(Invalid, match=r"^a: 'aaa"):
        ArgumentChecks().check(tool(of(a={"pattern": "^(a+)+$"})), {"a": "a" * 50_000 + "!"})
    assert time.monotonic() - began_s < MATCHED_S_MAX


def test_a_pattern_that_cannot_be_searched_for_is_said_to_be_one() -> None:
    with pytest.raises(Invalid, match="cannot be searched for"):
        ArgumentChecks().check(tool(of(a={"pattern": "(?=x)"})), {"a": "x"})


def test_a_changed_schema_counts_at_once() -> None:
    checks = ArgumentChecks()
    checks.check(tool(of(a={"type": "string"})), {"a": "x"})
    with pytest.raises(Invalid):
        checks.check(tool(of(a={"type": "number"})), {"a": "x"})


def test_a_schema_that_leads_round_in_circles_ends() -> None:
    round_ = {
        "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}},
        **of(x={"$ref": "#/$defs/a"}),
    }
    with pytest.raises(Invalid, match="nested too deeply"):
        ArgumentChecks().check(tool(round_), {"x": 1})
