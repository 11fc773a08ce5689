"""Filters: which steps run (flow8 section 6)."""

from datetime import UTC, datetime
from typing import Any

import pytest

from libs.expressions import ExpressionError, NeedsValue, Scope, StepView
from libs.expressions.filters import FilterError, compile_filters

SCOPE = Scope(
    prev={
        "args": {
            "n": 5,
            "text": "hello world",
            "none": None,
            "tags": ["a", 1],
            "obj": {"k": 1},
            "on": False,
            "f": 2.0,
        },
        "check": StepView(out={"ok": False, "statusCode": 200}, state="DONE"),
        "pay": StepView(out=None, state="FAIL", error="card declined"),
    },
    flow_id="f",
    play_id="p",
    company_id="c",
    now=datetime(2025, 1, 31, tzinfo=UTC),
    seed="s",
)


def passes(*filters: dict[str, Any]) -> bool:
    return compile_filters(list(filters)).passes(SCOPE)


def a_filter(left: Any, operator: str, right: Any = None, **more: Any) -> dict[str, Any]:
    return {"leftValue": left, "operator": operator, "rightValue": right, **more}


@pytest.mark.parametrize(
    ("left", "operator", "right"),
    [
        ("{{ $prev.check.ok }}", "eq", "false"),
        ("{{ $prev.check.statusCode }}", "eq", "200"),
        ("{{ $prev.args.f }}", "eq", "2"),
        ("{{ $prev.args.none }}", "eq", ""),
        ("{{ $prev.nobody.x }}", "eq", None),
        ("{{ $prev.pay.state }}", "eq", "FAIL"),
        ("a", "neq", "b"),
        ("{{ $prev.args.n }}", "gt", "4"),
        ("10", "gt", "9"),
        ("b", "gt", "a"),
        ("10", "lt", "9a"),
        (5, "gte", "{{ $prev.args.n }}"),
        (1, "lt", 1.5),
        ("2", "lte", 2),
        ("{{ $prev.args.text }}", "contains", "lo w"),
        ("{{ $prev.args.tags }}", "contains", "1"),
        ("{{ $prev.args.obj }}", "contains", "k"),
        ("{{ $prev.args.obj }}", "not_contains", "v"),
        ("{{ $prev.args.none }}", "not_contains", "x"),
        ("{{ $prev.args.none }}", "is_empty", None),
        ("{{ $prev.nobody.x }}", "is_empty", None),
        ("", "is_empty", None),
        ([], "is_empty", None),
        ({}, "is_empty", None),
        (0, "not_empty", None),
        (False, "not_empty", None),
        ("{{ $prev.args.text }}", "regex", "o w.r"),
        ("{{ $prev.check.statusCode }}", "regex", "^2\\d\\d$"),
        ({"a": 1, "b": 2}, "eq", {"b": 2.0, "a": 1}),
    ],
)
def test_a_true_filter_passes(left: Any, operator: str, right: Any) -> None:
    assert passes(a_filter(left, operator, right))


@pytest.mark.parametrize(
    ("left", "operator", "right"),
    [
        ("{{ $prev.check.ok }}", "eq", "true"),
        ("1.0", "eq", 1),
        ("a", "neq", "a"),
        ("9", "gt", "10"),
        ("a", "gte", "b"),
        (2, "lt", 2),
        ("{{ $prev.args.tags }}", "contains", "b"),
        ("{{ $prev.args.text }}", "not_contains", "hello"),
        (" ", "is_empty", None),
        ("{{ $prev.args.none }}", "not_empty", None),
        ("abc", "regex", "^b"),
    ],
)
def test_a_false_filter_does_not(left: Any, operator: str, right: Any) -> None:
    assert not passes(a_filter(left, operator, right))


@pytest.mark.parametrize(
    ("cast", "left", "operator", "right", "expected"),
    [
        ("number", "1.0", "eq", 1, True),
        ("number", "10", "gt", "9", True),
        ("number", True, "eq", 1, True),
        ("number", "abc", "eq", "abc", False),
        ("number", "abc", "neq", 1, False),
        ("number", None, "lt", 1, False),
        ("string", 10, "lt", 9, True),
        ("string", 2.0, "eq", "2", True),
        ("boolean", "TRUE", "eq", 1, True),
        ("boolean", None, "eq", False, True),
        ("boolean", "0", "neq", "true", True),
        ("boolean", "maybe", "eq", True, False),
        ("boolean", "true", "gt", "false", True),
        ("number", ["1.0", "x", 2], "contains", 1, True),
        ("number", ["x"], "not_contains", 1, True),
        ("number", [1], "contains", "x", False),
        ("number", [1], "not_contains", "x", False),
        ("string", {"1": 0}, "contains", 1, True),
        ("string", 123, "contains", 2, True),
        ("number", "abc", "not_empty", None, True),
        ("number", "abc", "regex", "b", True),
        ("", "1.0", "eq", 1, False),
        (None, 1.0, "eq", 1, True),
    ],
)
def test_a_cast_comes_before_the_comparison_and_a_failed_one_is_false(
    cast: str | None, left: Any, operator: str, right: Any, expected: bool
) -> None:
    assert passes(a_filter(left, operator, right, cast=cast)) is expected


YES, NO = a_filter(1, "eq", 1), a_filter(1, "eq", 2)


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ([], True),
        ([YES, YES], True),
        ([YES, NO], False),
        ([NO | {"mode": "or"}, YES | {"mode": "or"}], True),
        ([NO | {"mode": "or"}], False),
        ([YES, NO | {"mode": "or"}], False),
        ([YES, NO | {"mode": "or"}, YES | {"mode": "or"}], True),
        ([NO | {"mode": "and"}, YES | {"mode": "or"}], False),
        ([YES | {"mode": ""}, NO | {"mode": None}], False),
    ],
)
def test_every_and_filter_must_pass_and_one_of_the_or_filters(
    filters: list[dict[str, Any]], expected: bool
) -> None:
    assert passes(*filters) is expected


@pytest.mark.parametrize(
    ("definition", "field", "message"),
    [
        ("text", "", "filters[1]: a filter is an object"),
        ({"leftValue": 1}, "operator", "filters[1].operator: an operator is missing"),
        (a_filter(1, "like"), "operator", None),
        (a_filter(1, "EQ"), "operator", None),
        (a_filter(1, "eq", cast="date"), "cast", "filters[1].cast: is one of boolean, number, string"),
        (a_filter(1, "eq", cast=["string"]), "cast", None),
        (a_filter(1, "eq", mode="xor"), "mode", "filters[1].mode: is one of and, or"),
    ],
)
def test_a_filter_that_no_one_could_run_is_refused(definition: Any, field: str, message: str | None) -> None:
    with pytest.raises(FilterError) as caught:
        compile_filters([YES, definition])
    assert (caught.value.index, caught.value.field) == (1, field)
    assert message is None or str(caught.value) == message


@pytest.mark.parametrize("filters", ["text", {"leftValue": 1}, None, [YES] * 101])
def test_filters_are_a_list_of_bounded_length(filters: Any) -> None:
    with pytest.raises(FilterError):
        compile_filters(filters)


def test_a_bad_pattern_fails_the_step_when_it_runs() -> None:
    filters = compile_filters([YES, a_filter("x", "regex", "{{ $prev.args.text }}("), NO])
    with pytest.raises(ExpressionError, match=r"not a valid regular expression.*filters\[1\]"):
        filters.passes(SCOPE)


def test_filters_stop_at_the_first_that_decides() -> None:
    bad_pattern = a_filter("x", "regex", "(")
    assert not passes(NO, bad_pattern)
    assert passes(YES | {"mode": "or"}, bad_pattern | {"mode": "or"})


def test_an_expression_that_does_not_compile_names_its_filter_and_side() -> None:
    with pytest.raises(ExpressionError) as caught:
        compile_filters([YES, a_filter(1, "eq", "{{ nosuch 1 }}")])
    assert caught.value.path == "filters[1].rightValue"


def test_a_filter_asks_for_a_kv_entry() -> None:
    filters = compile_filters([a_filter("{{ $kv.flag }}", "eq", "on")])
    with pytest.raises(NeedsValue):
        filters.passes(SCOPE)
    assert filters.kv_keys == {("get", None, None, "flag")}


def test_filters_know_which_states_they_ask_for() -> None:
    filters = compile_filters(
        [
            a_filter("{{ $prev.check.statusCode }}", "eq", "200"),
            a_filter("FAIL", "eq", "{{ $prev.pay.state }}"),
            a_filter("{{ $prev.load.error }}", "not_empty", mode="or"),
        ]
    )
    assert (set(filters.refs), set(filters.state_refs)) == ({"check", "pay", "load"}, {"pay", "load"})


def test_a_value_that_is_no_json_is_an_error_of_the_language() -> None:
    filters = compile_filters([a_filter("{{ $prev.odd.x }}", "eq", "a")])
    scope = Scope(
        prev={"odd": {"x": object()}}, flow_id="", play_id="", company_id="", now=SCOPE.now, seed=""
    )
    with pytest.raises(ExpressionError):
        filters.passes(scope)
