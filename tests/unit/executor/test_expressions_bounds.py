"""What is refused, where, and before it costs anything."""

from datetime import UTC, datetime
from typing import Any

import pytest

from libs.expressions import ExpressionError, compile_value
from tests.unit.executor.a_scope import a_scope, error_of, of


@pytest.mark.parametrize(
    ("text", "message", "position"),
    [
        ("a {{ uper 'x' }}", "there is no function uper; did you mean upper?", 5),
        ("{{ $prv.a }}", "there is no object $prv; did you mean $prev?", 3),
        ("{{ if true }}", "if belongs to the template module; use ternary here", 3),
        (
            "{{ $date.later }}",
            "$date has no member later, only now, format, unix, addDays, addHours, addMinutes, addSeconds, addMonths",
            8,
        ),
        (
            "{{ $date }}",
            "$date needs a member: now, format, unix, addDays, addHours, addMinutes, addSeconds, addMonths",
            3,
        ),
        ("{{ $kv }}", '$kv needs a key: $kv.name, $kv["name"] or $kv.get "name"', 3),
        ("{{ .name }}", "nothing has a field name here; read a step with $prev.<ref>", 3),
        ("{{ . }}", "there is no current value here; read a step with $prev.<ref>", 3),
        ("{{ }}", "an expression is missing", 3),
        ("{{ upper 'x'", "the expression is not closed with }}", 0),
        ("{{ upper 'x }}", "the string is not closed", 9),
        ("{{ (upper 'x' }}", "the parenthesis is not closed", 3),
        ("{{ $prev.a[ }}", 'in brackets stands a number from 0 or a "key"; use index for anything else', 12),
        (
            "{{ $prev.a[-1] }}",
            'in brackets stands a number from 0 or a "key"; use index for anything else',
            11,
        ),
        ("{{ $prev.a[0 }}", "the bracket is not closed", 11),
        ("{{ $prev[0] }}", "$prev has refs, not indexes", 3),
        ("{{ add 1 }}", "add takes at least 2 arguments, not 1", 3),
        ("{{ trim 'a' 'b' }}", "trim takes 1 argument, not 2", 3),
        ("{{ upper trim }}", "trim takes 1 argument, not 0; inside a call write (trim …)", 9),
        (
            "{{ $date.format }}",
            "$date.format takes 1 to 3 arguments, not 0; inside a call write ($date.format …)",
            3,
        ),
        ("{{ 'a' | 'b' }}", "behind | stands a function", 9),
        ("{{ 'a' 'b' }}", "only a function takes arguments", 7),
        ("{{ add 1'2' }}", "a blank is missing between two arguments", 8),
        ("{{ 'a'.b }}", "a literal has no fields", 6),
        ("{{ ) }}", "unexpected ')'", 3),
        ("{{ upper ( }}", "the expression ends too early", 11),
        ("{{ eq nosuch 1 }}", "there is no function nosuch", 6),
        ("{{ 1 ~ 2 }}", "unexpected '~'", 5),
        ("{{ 1 ) }}", "unexpected ')'", 5),
        ("{{ upper | }}", "upper takes 1 argument, not 0; inside a call write (upper …)", 3),
        ("{{ '\\d' }}", "unknown escape \\d; use `…` for raw text", 4),
        ("{{ '\\ud800' }}", "unknown escape \\ud800; use `…` for raw text", 4),
        ("{{ 1e999 }}", "the number is not finite", 3),
        ("{{ 99999999999999999999 }}", "the number is outside the 64-bit integers", 3),
    ],
)
def test_a_text_that_is_no_expression_is_refused_where_it_goes_wrong(
    text: str, message: str, position: int
) -> None:
    with pytest.raises(ExpressionError) as caught:
        compile_value(text)
    assert (caught.value.message, caught.value.position) == (message, position)


def test_an_error_says_what_where_and_in_which_arg() -> None:
    error = error_of({"headers": [{"x-a": "{{ div 1 0 }}"}]})
    assert str(error) == "division by zero, at position 3 in headers[0].x-a of: {{ div 1 0 }}"
    assert (error.source, error.path) == ("{{ div 1 0 }}", "headers[0].x-a")


def test_an_error_shows_only_the_text_around_it_and_never_a_value() -> None:
    error = error_of(
        "x" * 500 + "{{ add $prev.args.secret 1 }}" + "y" * 500, prev={"args": {"secret": "hunter2"}}
    )
    assert len(error.source) <= 120
    assert "hunter2" not in str(error)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{{ " + "(" * 65 + "1" + ")" * 65 + " }}", "parentheses nest at most 64 deep"),
        ("{{ 'a'" + " | upper" * 65 + " }}", "an expression nests at most 64 deep"),
        ("{{ '" + "x" * 70_000 + "' | upper }}", "an expression has at most 65536 characters"),
        ("{{ 1 }}" * 10_001, "a value holds at most 10000 expressions"),
        ("{{ 1 }}" + "x" * (4 * 1024 * 1024), "a text with expressions has at most 4194304 characters"),
    ],
)
def test_an_expression_is_bounded_in_size_and_depth(text: str, message: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        compile_value(text)
    assert caught.value.message == message


def test_the_deepest_expression_allowed_evaluates() -> None:
    assert of("'a'" + " | upper" * 63) == "A"
    assert of("(" * 64 + "1" + ")" * 64) == 1


def test_a_value_that_nests_too_deep_is_refused() -> None:
    value: Any = "{{ 1 }}"
    for _ in range(130):
        value = [value]
    with pytest.raises(ExpressionError, match="nests at most 128 deep"):
        compile_value(value)


@pytest.mark.parametrize(
    "value",
    ["{{ $prev.args.big }}", "a{{ $prev.args.big }}", "{{ $prev.args }}", ["{{ $prev.args.half }}"] * 3],
)
def test_an_output_beyond_its_bound_is_an_error(value: Any) -> None:
    scope = a_scope(prev={"args": {"big": "ü" * 600, "half": "x" * 500}})
    with pytest.raises(ExpressionError, match="larger than a result may be"):
        compile_value(value).evaluate(scope, output_bytes_max=1_000)


@pytest.mark.parametrize(
    "expression",
    [
        "replace $prev.args.big 'x' $prev.args.big",
        "split $prev.args.big ''",
        "join (split (slice $prev.args.big 0 100000) '') $prev.args.big",
        "$q.jsonParse $prev.args.nested",
    ],
)
def test_work_that_would_explode_is_refused_before_it_is_done(expression: str) -> None:
    args = {"big": "x" * 2_000_000, "nested": "[" + "[]," * 6_000_000 + "[]]"}
    assert error_of(f"{{{{ {expression} }}}}", prev={"args": args}).message in (
        "this is more work than one evaluation may do"
    )


@pytest.mark.parametrize(
    "odd",
    [float("nan"), 10**5000, "\ud800", datetime(2025, 1, 1, tzinfo=UTC), {1: object()}],
    ids=["nan", "a huge number", "half a surrogate pair", "a datetime", "an object inside"],
)
def test_a_value_that_is_no_json_is_an_error_and_never_a_crash(odd: Any) -> None:
    texts = (
        "{{ $prev.args }}",
        "{{ $q.urlencode $prev.args.odd }}",
        "a{{ toJson $prev.args.odd }}",
        "{{ $q.base64 $prev.args.odd }}",
        "{{ upper $prev.args }}",
        "{{ add $prev.args.odd 1 }}",
        "{{ printf '%d%f' $prev.args.odd $prev.args.odd }}",
        "{{ index $prev.args $prev.args.odd }}",
        "{{ $date.format '2006' $prev.args.odd }}",
        "{{ gt $prev.args.odd 1 }}",
        "{{ slice 'abc' $prev.args.odd }}",
    )
    for text in texts:
        template = compile_value(text)
        try:
            made = template.evaluate(a_scope(prev={"args": {"odd": odd}}))
        except ExpressionError:
            continue
        assert made is None or isinstance(made, str | bool | int | float | dict)
