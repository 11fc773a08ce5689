"""Expressions as flows write them: paths, typing, literals, what a template reads."""

from typing import Any

import pytest

from libs.expressions import ExpressionError, StepView, compile_expression, compile_value, unparse
from tests.unit.executor.a_scope import PREV, a_scope, of, value_of


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("$prev.args.name", "Ada"),
        ("$prev.input.name", "Ada"),
        ("$prev.fetch.items[0].name", "first"),
        ("$prev.fetch.items[1]", {"name": "second"}),
        ('$prev["fetch"]["items"][1]["name"]', "second"),
        ("$prev.fetch.items.0.name", "first"),
        ("$prev.plain[1][0]", 20),
        ("$prev.args.headers.content-type", "text/plain"),
        ('$prev.args.headers["content-type"]', "text/plain"),
        ("($prev.fetch).statusCode", 200),
        ("$prev.args.headers", {"content-type": "text/plain"}),
    ],
)
def test_a_path_reads_fields_and_elements(path: str, value: Any) -> None:
    assert of(path) == value


@pytest.mark.parametrize(
    "path",
    [
        "$prev.nobody",
        "$prev.nobody.a.b[3]",
        "$prev.fetch.items[7].name",
        "$prev.fetch.items.name",
        "$prev.args.name.first",
        "$prev.args.count[0]",
        "$prev.nobody.state",
        "$prev.off.statusCode",
    ],
)
def test_a_missing_path_is_null_and_empty_in_text(path: str) -> None:
    assert value_of([f"{{{{ {path} }}}}", f"<{{{{ {path} }}}}>"]) == [None, "<>"]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("$prev.fetch.state", "DONE"),
        ("$prev.bad.state", "FAIL"),
        ("$prev.bad.error", "boom"),
        ("$prev.fetch.error", None),
        ("$prev.gate.approval.decision", "approved"),
        ("$prev.off.state", "FILTERED"),
        ("$prev.off", {"state": "FILTERED"}),
        ("$prev.bad", {"note": "x"}),
    ],
)
def test_a_step_shows_how_it_went_beside_its_output(path: str, value: Any) -> None:
    assert of(path) == value


def test_an_output_field_wins_over_the_virtual_one_even_when_it_is_null() -> None:
    assert value_of(["{{ $prev.child.state }}", "{{ $prev.child.error }}"]) == ["DONE-INSIDE", None]


def test_prev_as_a_whole_is_every_output_by_its_ref() -> None:
    assert of("$prev", prev={"args": {"a": 1}, "s": StepView(out=[1])}) == {"args": {"a": 1}, "s": [1]}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{{ $prev.args.count }}", 3),
        ("{{ $prev.args.total }}", 2.0),
        ("{{ $prev.args.on }}", False),
        ("{{ null }}", None),
        ("n={{ $prev.args.count }}", "n=3"),
        ("n={{ $prev.args.total }}", "n=2"),
        ("n={{ 0.5 }}", "n=0.5"),
        ("n={{ $prev.args.on }}", "n=false"),
        ("n={{ null }}.", "n=."),
        ("n={{ $prev.fetch.items }}", 'n=[{"name":"first"},{"name":"second"}]'),
        ("{{ 1 }}{{ 2 }}", "12"),
        ("{{ 1 }} ", "1 "),
        ("{{ '{{' }} and }}", "{{ and }}"),
        ("{{ `}}` }}", "}}"),
        ("a  {{- 1 -}}  b", "a1b"),
        ("a{{/* nobody reads {{ this }} */}}b", "ab"),
        ("no braces { }", "no braces { }"),
        ("n={{ $prev.nested }}", 'n={"f":1,"l":[2,2.5,"v1.0"]}'),
    ],
)
def test_a_whole_value_keeps_its_type_and_text_takes_the_canonical_string(text: str, value: Any) -> None:
    made = value_of(text, prev={**PREV, "nested": {"f": 1.0, "l": [2.0, 2.5, "v1.0"]}})
    assert (made, type(made)) == (value, type(value))


def test_expressions_stand_at_any_depth_but_not_in_keys() -> None:
    value = {"{{ 1 }}": [{"a": ["{{ add 1 1 }}", 5]}, "x{{ 3 }}"], "b": None}
    assert value_of(value) == {"{{ 1 }}": [{"a": [2, 5]}, "x3"], "b": None}


def test_the_keys_keep_their_order() -> None:
    assert list(value_of({"z": "{{ 1 }}", "a": 2, "m": "{{ 3 }}"})) == ["z", "a", "m"]


def test_a_value_without_expressions_is_static_and_stays_as_it_is() -> None:
    value = {"a": [1, "text", None]}
    template = compile_value(value)
    assert (template.static, template.evaluate(a_scope()) is value) == (True, True)


def test_a_template_knows_what_it_reads() -> None:
    template = compile_value(
        ["{{ $prev.a.x }}", "{{ eq $prev.b.state 'FAIL' }}", "{{ $prev.c.error }} {{ $prev.d.approval }}",
         "{{ $kv.limit }} {{ $kv.getScoped 'flow' 'f1' 'k' }} {{ $kv.get $prev.a }}", "{{ $prev.args.q }}"]
    )  # fmt: skip
    assert (set(template.refs), set(template.state_refs), set(template.kv_keys)) == (
        {"a", "b", "c", "d"},
        {"b", "c"},
        {("get", None, None, "limit"), ("getScoped", "flow", "f1", "k")},
    )


def test_reading_prev_as_a_whole_counts_as_reading_everything() -> None:
    assert compile_value("{{ index $prev 'a' }}").refs == {"*"}


@pytest.mark.parametrize(
    ("literal", "value"),
    [
        ('"a\\n\\"b\\" \\u00e9\\x41"', 'a\n"b" éA'),
        ("'it\\'s \"so\"'", 'it\'s "so"'),
        ("`raw \\n 'x' \"y\"`", "raw \\n 'x' \"y\""),
        ('"a\nb"', "a\nb"),
        ("-5", -5),
        ("1.50", 1.5),
        ("1e3", 1000),
        ("2.0", 2),
        ("true", True),
        ("nil", None),
        ("null", None),
        ("-9223372036854775808", -(2**63)),
    ],
)
def test_literals(literal: str, value: Any) -> None:
    made = of(literal)
    assert (made, type(made)) == (value, type(value))


@pytest.mark.parametrize(
    ("source", "printed"),
    [
        ("'a' | upper | replace \"A\" `b`", 'replace (upper "a") "A" "b"'),
        ("( ($prev.a).b[0]['c d'] )", '$prev.a.b[0]["c d"]'),
        ("$kv.config.url", '($kv.get "config").url'),
        (".a.b", ".a.b"),
        ("{{ .[0] }}", ".[0]"),
        ("gt . $date.unix", "gt . $date.unix"),
        ("eq nil 1.0", "eq null 1"),
    ],
)
def test_an_expression_prints_as_plain_calls(source: str, printed: str) -> None:
    assert unparse(compile_expression(source)) == printed


def test_a_single_expression_sees_a_current_value() -> None:
    expression = compile_expression("{{ and (gt .amount 100) (eq .tags[0] 'x') (len .) }}")
    assert expression.evaluate(a_scope(), {"amount": 150, "tags": ["x"]}) == 2


@pytest.mark.parametrize("source", ["", "  ", "{{ 1 }} more", "{{ 1 }}{{ 2 }}", "1 }}"])
def test_a_single_expression_stands_alone(source: str) -> None:
    with pytest.raises(ExpressionError):
        compile_expression(source)
