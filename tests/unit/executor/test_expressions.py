"""Expressions as flows write them: paths, objects, functions, typing, errors."""

import re
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from libs.expressions import (
    ExpressionError,
    NeedsValue,
    Scope,
    StepView,
    compile_expression,
    compile_value,
    unparse,
)

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
    ("expression", "value"),
    [
        ("add 1 2", 3),
        ("add 1 2 3.5", 6.5),
        ("add '41' 1", 42),
        ("add ' 1.5 ' 1", 2.5),
        ("add null 1", 1),
        ("add $prev.nobody.count 1", 1),
        ("add 0.5 0.5", 1),
        ("sub 1 3", -2),
        ("sub null 3", -3),
        ("mul 2 3 4", 24),
        ("mul '2' 0.5", 1),
        ("div 6 3", 2),
        ("div 1 4", 0.25),
        ("div 5.0 2.5", 2),
        ("mod 7 3", 1),
        ("mod -7 3", -1),
        ("mod 7.5 2", 1.5),
        ("round 2.5", 3),
        ("round -2.5", -3),
        ("round 2.675 2", 2.68),
        ("round 1e300 2", 1e300),
        ("div 9007199254740993 1", 9007199254740993),
    ],
)
def test_arithmetic_takes_numeric_strings_and_gives_whole_numbers_where_it_can(
    expression: str, value: Any
) -> None:
    made = of(expression)
    assert (made, type(made)) == (value, type(value))


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("div 1 0", "division by zero"),
        ("div 1 0.0", "division by zero"),
        ("mod 1 '0'", "division by zero"),
        ("add 'x' 1", "add needs numbers, not a string that is no number"),
        ("mul null 2", "mul needs numbers, not null"),
        ("add true 1", "add needs numbers, not a boolean"),
        ("add 'nan' 1", "add needs numbers, not a string that is no number"),
        ("add '1_0' 1", "add needs numbers, not a string that is no number"),
        ("add '٣' 1", "add needs numbers, not a string that is no number"),
        ("add $prev.fetch 1", "add needs numbers, not an object"),
        ("mul 1e308 10", "the number is not finite"),
        ("mul 9223372036854775807 2", "the number is outside the 64-bit integers"),
        ("add 9223372036854775807 1", "the number is outside the 64-bit integers"),
        ("round 1.5 99", "round keeps 0 to 15 digits"),
        ("join 'a' ','", "join needs a list, not a string"),
        ("len 5", "len needs a string, a list or an object, not a number"),
        ("slice 'abc' -1", "slice counts from 0"),
        ("$q.jsonParse $prev.args.name", "the text is not valid JSON"),
        ("$q.jsonParse '{'", "the text is not valid JSON"),
        ("$date.format '2006' 'soon'", "a date is an RFC 3339 text or unix seconds, this is a string"),
        ("$date.format '2006' null", "a date is an RFC 3339 text or unix seconds, this is null"),
        ("$date.unix '2025-02-30'", "the date is not in the calendar"),
        ("$date.addDays 99999999", "the date is not in the calendar"),
        ("$rand.int 2 1", "the smallest number is above the largest"),
        ("$rand.string 5000", "a random string has 0 to 4096 characters"),
        ("printf '%d' 'x'", "printf cannot show a string with %d"),
        ("printf '%d'", "printf has more verbs than values"),
        ("printf 'a' 1", "printf has more values than verbs"),
        ("printf '%'", "printf's layout ends inside a verb"),
        ("printf '%y' 1", "printf cannot show a number with %y"),
        ("printf '%9999d' 1", "printf's width and precision are at most 1000"),
    ],
)
def test_what_cannot_be_computed_is_an_error(expression: str, message: str) -> None:
    assert error_of(f"{{{{ {expression} }}}}").message == message


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("upper 'straße'", "STRASSE"),
        ("lower 'ÄB'", "äb"),
        ("trim '  a b\n'", "a b"),
        ("replace 'a-b-c' '-' '+'", "a+b+c"),
        ("replace 'ab' '' '.'", ".a.b."),
        ("split 'a,b,,c' ','", ["a", "b", "", "c"]),
        ("split 'abc' ''", ["a", "b", "c"]),
        ("split '' ','", [""]),
        ("join (split 'a,b' ',') ' + '", "a + b"),
        ("join $prev.plain '-'", "10-[20,30]"),
        ("join null ','", ""),
        ("contains 'flow' 'lo'", True),
        ("contains $prev.plain 10", True),
        ("contains $prev.plain '10'", True),
        ("contains $prev.fetch 'items'", True),
        ("contains null ''", False),
        ("hasPrefix 'flow' 'fl'", True),
        ("hasSuffix 'flow' 'fl'", False),
        ("upper null", ""),
        ("upper 1.0", "1"),
        ("len 'äö'", 2),
        ("len $prev.plain", 2),
        ("len null", 0),
        ("index $prev.plain 1 0", 20),
        ("index $prev.fetch 'items' 1 'name'", "second"),
        ("index $prev.plain 9", None),
        ("index $prev.plain -1", None),
        ("slice 'abcdef' 2 4", "cd"),
        ("slice $prev.plain 1", [[20, 30]]),
        ("slice null 1", None),
        ("toJson $prev.plain", "[10,[20,30]]"),
        ("toJson 'a\"b'", '"a\\"b"'),
        ("print 1 'a' true", "1 a true"),
        ("html '<a href=\"x\">'", "&lt;a href=&quot;x&quot;&gt;"),
        ("urlquery 'a b&c'", "a+b%26c"),
        ("default $prev.nobody 'x'", "x"),
        ("default '' 'x'", "x"),
        ("default 0 'x'", 0),
        ("default false 'x'", False),
        ("ternary (gt $prev.args.count 2) 'many' 'few'", "many"),
        ("ternary 'false' 1 2", 2),
    ],
)
def test_functions_take_the_value_first(expression: str, value: Any) -> None:
    assert of(expression) == value


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("eq 1 1.0", True),
        ("eq 200 '200'", True),
        ("eq false 'false'", True),
        ("eq null ''", True),
        ("eq 'a' 'b'", False),
        ("eq 'b' 'a' 'b'", True),
        ('eq ($q.jsonParse \'{"a":1,"b":[2]}\') ($q.jsonParse \'{"b":[2.0],"a":1}\')', True),
        ("eq ($q.jsonParse '[1]') '[1]'", True),
        ("ne 1 2", True),
        ("neq 1 '1'", False),
        ("gt 10 9", True),
        ("gt '10' '9'", True),
        ("gt '10' 'nine'", False),
        ("gt 'b' 'a'", True),
        ("ge 2 2", True),
        ("gte '2' 2.0", True),
        ("lt 1 2", True),
        ("le 3 2", False),
        ("lte 2 2", True),
        ("gt 9007199254740993 9007199254740992", True),
        ("lt '2025-01-31' '2025-02-01'", True),
        ("and 1 'x'", "x"),
        ("and 0 (div 1 0)", 0),
        ("or '' 'x'", "x"),
        ("or 1 (div 1 0)", 1),
        ("not 'false'", True),
        ("not $prev.plain", False),
        ("ternary true 1 (div 1 0)", 1),
        ("default 1 (div 1 0)", 1),
    ],
)
def test_comparison_works_across_types_and_logic_stops_early(expression: str, value: Any) -> None:
    assert of(expression) == value


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("'a,b' | split ','", ["a", "b"]),
        ("'a' | replace 'a' 'b' | upper", "B"),
        ("$prev.nobody.x | default 'none'", "none"),
        ("$prev.args.count | printf '%03d'", "003"),
        ("1 | index $prev.plain 1", 30),
        ("$prev.args.count | gt 5", True),
        ("$date.addDays 1 | $date.format '2006-01-02'", "2025-02-01"),
        ("3 | add 4 | mul 2", 14),
        ("upper 'a' | len", 1),
        ("('x' | upper) | lower", "x"),
    ],
)
def test_a_pipe_puts_the_value_first_and_in_go_functions_last(expression: str, value: Any) -> None:
    assert of(expression) == value


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
    ("layout", "text"),
    [
        ("2006-01-02T15:04:05Z07:00", "2025-01-31T09:05:07Z"),
        ("Mon, 02 Jan 2006 15:04:05 MST", "Fri, 31 Jan 2025 09:05:07 UTC"),
        ("Monday, January 2, 2006", "Friday, January 31, 2025"),
        ("3:4:5 PM", "9:5:7 AM"),
        ("03:04 pm", "09:05 am"),
        ("1/2/06", "1/31/25"),
        ("_2 Jan|__2|002", "31 Jan| 31|031"),
        ("_2006", "_2025"),
        ("15h04.000", "09h05.120"),
        ("05.999 05.000000", "07.12 07.120000"),
        ("-0700 -07:00 -07 -070000 -07:00:00", "+0000 +00:00 +00 +000000 +00:00:00"),
        ("Z0700 Z07 Z070000 Z07:00:00", "Z Z Z Z"),
        ("Month Janet", "Month Janet"),
        ("year 2006!", "year 2025!"),
        ("", ""),
    ],
)
def test_dates_are_written_in_go_layouts(layout: str, text: str) -> None:
    assert of(f"$date.format '{layout}'") == text


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("$date.now", "2025-01-31T09:05:07Z"),
        ("$now", "2025-01-31T09:05:07Z"),
        ("$date.unix", 1738314307),
        ("$date.unix '1970-01-02'", 86400),
        ("$date.unix '1969-12-31T23:59:59.5Z'", -1),
        ("$date.addDays 7", "2025-02-07T09:05:07Z"),
        ("$date.addDays -0.5", "2025-01-30T21:05:07Z"),
        ("$date.addDays 1 '2024-02-28'", "2024-02-29T00:00:00Z"),
        ("$date.format '2006-01-02 15:04' '2025-06-01T01:30:00+02:00'", "2025-05-31 23:30"),
        ("$date.format '2006' 0", "1970"),
        ("$date.format '3PM' '2025-01-01T00:00:00Z'", "12AM"),
        ("$date.format '2006-01-02' ($date.addDays 1)", "2025-02-01"),
    ],
)
def test_dates_are_utc_and_chain(expression: str, value: Any) -> None:
    assert of(expression) == value


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("$q.urlencode 'a b&c/ü~'", "a+b%26c%2F%C3%BC~"),
        ("$q.base64 'hé'", "aMOp"),
        ("$q.jsonStringify $prev.plain", "[10,[20,30]]"),
        ('($q.jsonParse \'{"a":[1,{"b":2}]}\').a[1].b', 2),
        ("$q.jsonParse $prev.plain", [10, [20, 30]]),
        ("$flowId", "flow1"),
        ("$playId", "play1"),
        ("$companyId", "acme"),
    ],
)
def test_objects(expression: str, value: Any) -> None:
    assert of(expression) == value


@pytest.mark.parametrize(
    ("expression", "pattern"),
    [
        ("$rand.uuid", r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"),
        ("$rand.cuid", r"[a-z][a-z0-9]{23}"),
        ("$rand.string 12", r"[A-Za-z0-9]{12}"),
        ("$rand.int -3 3", r"-?[0-3]"),
        ("$rand.string 0", r""),
    ],
)
def test_random_values_have_their_form_and_follow_the_seed(expression: str, pattern: str) -> None:
    drawn = str(of(expression))
    again = str(of(expression))
    assert re.fullmatch(pattern, drawn)
    assert drawn == again


def test_random_values_differ_by_seed_by_place_and_by_text() -> None:
    value = ["{{ $rand.uuid }}", "{{ $rand.uuid }}", "{{ $rand.uuid }} {{ $rand.uuid }}"]
    drawn = " ".join(value_of(value)) + " " + " ".join(value_of(value, seed="other"))
    assert len(set(drawn.split())) == 8


def test_random_values_are_the_same_in_every_process() -> None:
    assert of("$rand.uuid") == "064ae7ab-c421-457f-bf78-c9df59dba4c8"


def test_a_random_integer_reaches_both_ends() -> None:
    assert {of("$rand.int 1 3", seed=str(seed)) for seed in range(60)} == {1, 2, 3}


@pytest.mark.parametrize(
    ("expression", "key"),
    [
        ("$kv.get 'k'", ("get", None, None, "k")),
        ("$kv.k", ("get", None, None, "k")),
        ("$kv['a b']", ("get", None, None, "a b")),
        ("$kv.getGlobal 'k'", ("getGlobal", None, None, "k")),
        ("$kv.getScoped 'flow' $flowId 'k'", ("getScoped", "flow", "flow1", "k")),
        ("'k' | $kv.get", ("get", None, None, "k")),
    ],
)
def test_a_kv_entry_is_asked_for_and_then_read(expression: str, key: tuple[Any, ...]) -> None:
    with pytest.raises(NeedsValue) as needs:
        of(expression)
    assert (needs.value.key, of(expression, kv={key: 5})) == (key, 5)


def test_fields_below_a_kv_entry_are_read() -> None:
    assert of("$kv.config.url[0]", kv={("get", None, None, "config"): {"url": ["x"]}}) == "x"


def test_a_kv_entry_that_does_not_exist_is_null() -> None:
    assert of("add $kv.counter 1", kv={("get", None, None, "counter"): None}) == 1


def test_a_branch_that_is_not_taken_asks_for_nothing() -> None:
    assert of("ternary true 1 $kv.k") == 1


@pytest.mark.parametrize(
    ("text", "message", "position"),
    [
        ("a {{ uper 'x' }}", "there is no function uper; did you mean upper?", 5),
        ("{{ $prv.a }}", "there is no object $prv; did you mean $prev?", 3),
        ("{{ if true }}", "if belongs to the template module; use ternary here", 3),
        ("{{ $date.later }}", "$date has no member later, only now, format, unix, addDays", 8),
        ("{{ $date }}", "$date needs a member: now, format, unix, addDays", 3),
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
            "$date.format takes 1 to 2 arguments, not 0; inside a call write ($date.format …)",
            3,
        ),
        ("{{ 'a' | 'b' }}", "behind | stands a function", 9),
        ("{{ 'a' 'b' }}", "only a function takes arguments", 7),
        ("{{ add 1'2' }}", "a blank is missing between two arguments", 8),
        ("{{ 'a'.b }}", "a literal has no fields", 6),
        ("{{ 1 + 2 }}", "unexpected '+'", 5),
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
        assert made is None or isinstance(made, str | bool | int | float)


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
