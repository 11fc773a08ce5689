"""Args that modules read as templates, the Go templates themselves, and regular expressions."""

from datetime import UTC, datetime
from typing import Any

import pytest

from libs.expressions import (
    ExpressionError,
    PatternError,
    Scope,
    Template,
    compile_module_args,
    compile_pattern,
    render_go_template,
)

RAW = frozenset({"template", "condition", "expression"})


def a_scope(**args: Any) -> Scope:
    return Scope(
        prev={"args": args},
        flow_id="flow1",
        play_id="play1",
        company_id="acme",
        now=datetime(2025, 1, 31, tzinfo=UTC),
        seed="seed",
    )


def compiled(**args: Any) -> Template:
    return compile_module_args(args, raw=RAW)


@pytest.mark.parametrize(
    "text",
    [
        "{{ .name }}",
        "Hello {{.name}}, {{ upper .city }}!",
        "{{ if .a }}A{{ else }}B{{ end }}",
        "{{ range $i, $x := .items }}{{ $i }}{{ end }}",
        "{{ gt .amount 100 }}",
        "{{ . }}",
        "{{ $ }}",
        "{{/* note */}}",
        "{{ this is none of ours",
        "{{ unknownFunction .a }} {{ .b }}",
        "{{ $q.jsonParse .text }}",
        "{{ $rand.int 1 .top }}",
        "no braces",
    ],
)
def test_a_raw_arg_stays_text_where_it_is_meant_for_the_module(text: str) -> None:
    template = compiled(template=text)
    assert (template.static, template.evaluate(a_scope())) == (True, {"template": text})


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ("{{ $prev.args.list }}", [1, 2]),
        ("{{ add 1 2 }}", 3),
        ("Hi {{ $prev.args.name }}, {{ .x }}", "Hi Ada, {{ .x }}"),
        ("{{ gt .amount $prev.args.limit }}", "{{ gt .amount 100 }}"),
        ("{{gt .amount (mul $prev.args.limit 2)}}", "{{ gt .amount 200 }}"),
        ("{{ .amount | mul $prev.args.rate }}", "{{ mul .amount 0.5 }}"),
        ("{{ contains $prev.args.list .id }}", '{{ contains ($q.jsonParse "[1,2]") .id }}'),
        ("{{ default .name $prev.args.name }}", '{{ default .name "Ada" }}'),
        ("{{ eq .a $prev.nobody.x }}", "{{ eq .a null }}"),
        ("{{ if $prev.args.on }}{{ .x }}{{ end }}", "{{ if true }}{{ .x }}{{ end }}"),
        ("{{- range $i, $x := $prev.args.list -}}", '{{- range $i, $x := ($q.jsonParse "[1,2]") -}}'),
        ("{{ $x := $prev.args.limit }}{{ $x }}", "{{ $x := 100 }}{{ $x }}"),
        ("{{ printf `%s}}` $prev.args.name .x }}", '{{ printf "%s}}" "Ada" .x }}'),
        ("a {{- $prev.args.name }} {{ .x }}", 'a {{- "Ada" }} {{ .x }}'),
        ("{{ $prev.args.name }} {{ broken", "Ada {{ broken"),
    ],
)
def test_a_raw_arg_takes_its_outside_values_before_the_module_sees_it(text: str, made: Any) -> None:
    scope = a_scope(list=[1, 2], name="Ada", limit=100, rate=0.5, on=True)
    assert compiled(template=text).evaluate(scope) == {"template": made}


def test_a_raw_arg_draws_chance_for_each_element_not_once() -> None:
    text = "{{ .name }}-{{ printf `%d%s` ($rand.int 1 6) .x }}"
    assert compiled(expression=text).evaluate(a_scope()) == {"expression": text}


def test_what_a_raw_arg_reads_is_known() -> None:
    template = compiled(condition="{{ gt .amount $prev.fetch.limit }} {{ if $prev.fetch.error }}")
    assert (set(template.refs), set(template.state_refs)) == ({"fetch"}, {"fetch"})


def test_other_args_are_evaluated_as_everywhere() -> None:
    args = {"data": {"a": "{{ $prev.args.a }}"}, "template": "{{ .a }}"}
    assert compile_module_args(args, raw=RAW).evaluate(a_scope(a=5)) == {
        "data": {"a": 5},
        "template": "{{ .a }}",
    }


def test_a_bare_field_in_another_arg_is_refused() -> None:
    with pytest.raises(ExpressionError) as caught:
        compiled(url="{{ .a }}")
    assert caught.value.path == "url"


@pytest.mark.parametrize(
    "hostile", ["{{ .secret }}", "{", "{{", "}}", '"}}{{ .secret }}{{ "', "{{- .secret -}}"]
)
def test_text_from_outside_never_becomes_a_template(hostile: str) -> None:
    text = "<{{ $prev.args.x }}{{ $prev.args.x }}{{ printf `%s` $prev.args.x | print .name }}>"
    made = compiled(template=text).evaluate(a_scope(x=hostile))["template"]
    assert render_go_template(made, {"secret": "no", "name": "yes"}) == f"<{hostile}{hostile}yes {hostile}>"


DATA = {
    "name": "Ada",
    "a": {"b": {"c": 1.0}},
    "items": [{"n": 1}, {"n": 2}, {"n": 3}],
    "list": ["x", "y"],
    "map": {"b": 2, "a": 1},
    "none": [],
    "zero": 0,
    "price": 12.5,
}


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("plain", "plain"),
        ("", ""),
        ("Hello {{ .name }}!", "Hello Ada!"),
        ("{{ .a.b.c }}{{ .a.x.y }}", "1"),
        ("{{ .a }}", '{"b":{"c":1}}'),
        ("{{ if .name }}yes{{ end }}", "yes"),
        ("{{ if .zero }}a{{ else if eq .name `Ada` }}b{{ else }}c{{ end }}", "b"),
        ("{{ if .zero }}a{{ else if .zero }}b{{ else }}c{{ end }}", "c"),
        ("{{ range .items }}[{{ .n }}]{{ end }}", "[1][2][3]"),
        ("{{ range .none }}x{{ else }}empty{{ end }}", "empty"),
        ("{{ range .missing }}x{{ else }}empty{{ end }}", "empty"),
        ("{{ range $i, $x := .list }}{{ $i }}{{ $x }}{{ end }}", "0x1y"),
        ("{{ range $x := .list }}{{ $x }}{{ . }}{{ end }}", "xxyy"),
        ("{{ range $k, $v := .map }}{{ $k }}={{ $v }};{{ end }}", "a=1;b=2;"),
        ("{{ range 3 }}{{ . }}{{ end }}", "012"),
        ("{{ range .items }}{{ if eq .n 2 }}{{ continue }}{{ end }}{{ .n }}{{ end }}", "13"),
        ("{{ range .items }}{{ with .n }}{{ if gt . 1 }}{{ break }}{{ end }}{{ . }}{{ end }}{{ end }}", "1"),
        ("{{ range .items }}{{ $.name }}{{ end }}", "AdaAdaAda"),
        ("{{ with .a.b }}{{ .c }}{{ else }}none{{ end }}{{ .name }}", "1Ada"),
        ("{{ with .nope }}x{{ else }}none{{ end }}", "none"),
        ("{{ with .nope }}x{{ else with .name }}{{ . }}{{ end }}", "Ada"),
        ("{{ with $x := .price }}{{ $x }}{{ end }}", "12.5"),
        ("{{ if $x := .price }}{{ $x }}{{ end }}", "12.5"),
        ("{{ $n := 0 }}{{ range .items }}{{ $n = add $n .n }}{{ end }}{{ $n }}", "6"),
        ("{{ $n := 1 }}{{ if true }}{{ $n := 2 }}{{ $n }}{{ end }}{{ $n }}", "21"),
        ("a  {{- .name -}}  b", "aAdab"),
        ("a\n{{- range .list }}\n- {{ . }}\n{{- end }}\n", "a\n- x\n- y\n"),
        ("a{{/* {{ note }} */}}b {{- /* x */ -}} c", "abc"),
        ("{{ .price | printf `%.2f` }}", "12.50"),
        (
            "{{ printf `%-5s|%5.1f|%q|%v|%t|%x` .name .price .name .list true 255 }}",
            'Ada  | 12.5|"Ada"|["x","y"]|true|ff',
        ),
        ("{{ len .items }}{{ index .list 1 }}{{ index .map `a` }}", "3y1"),
        ("{{ and .name .zero }}{{ or .zero .name }}{{ not .zero }}", "0Adatrue"),
        ("{{ lt 1 2 }}{{ ge 2 2 }}{{ ne 1 1 }}", "truetruefalse"),
        ("{{ .name | upper | replace `A` `O` }}", "ODO"),
        ("{{ join .list `, ` }}", "x, y"),
        ("{{ html `<b>` }}", "&lt;b&gt;"),
        ("{{ $.price }}", "12.5"),
        ("{{ (index .items 0).n }}", "1"),
        ("{{ .list | len | add 1 }}", "3"),
        ("{{ print `a` 1 }}", "a 1"),
    ],
)
def test_a_go_template_renders(template: str, text: str) -> None:
    assert render_go_template(template, DATA) == text


@pytest.mark.parametrize(
    ("template", "message", "position"),
    [
        ("{{ if .a }}x", "if is not closed with end", 3),
        ("{{ range .a }}x{{ else }}", "else is not closed with end", 18),
        ("x{{ end }}", "end without a block", 4),
        ("{{ else }}", "else without a block", 3),
        ("{{ if .a }}{{ else }}{{ else }}{{ end }}", "else is not closed with end", 14),
        ("{{ if .a }}{{ else with .b }}{{ end }}", "else with does not belong to if", 14),
        ("{{ range .a }}{{ else if .b }}{{ end }}", "else if does not belong to range", 17),
        ("{{ break }}", "break outside of range", 3),
        ("{{ $x }}", "there is no variable $x", 3),
        ("{{ $x = 1 }}", "there is no variable $x", 3),
        ("{{ if true }}{{ $x := 1 }}{{ end }}{{ $x }}", "there is no variable $x", 38),
        ("{{ define `x` }}", "define is not supported", 3),
        ("{{ range .name }}{{ end }}", "range needs a list, an object or a whole number, not a string", 3),
        ("{{ end 5 }}", "end stands alone", 7),
        ("{{ if }}{{ end }}", "an expression is missing", 6),
        ("{{ nosuch .a }}", "there is no function nosuch", 3),
        ("{{ .a", "the expression is not closed with }}", 0),
        ("{{ }}", "an expression is missing", 3),
        ("{{ $prev.a }}", "$prev is not available here", 3),
        ("{{ $date.now }}", "$date.now is not available here", 3),
        ("{{ if $x = 5 }}{{ end }}", "if declares variables with :=", 3),
        ("{{ 1 }}" * 10_002, "a template has at most 10000 actions", 7 * 10_000),
        (" " * (4 * 1024 * 1024 + 1), "a template has at most 4194304 characters", 0),
        ("{{ if true }}" * 65 + "{{ end }}" * 65, "blocks nest at most 64 deep", 13 * 64 + 3),
    ],
)
def test_a_template_that_goes_wrong_says_where(template: str, message: str, position: int) -> None:
    with pytest.raises(ExpressionError) as caught:
        render_go_template(template, DATA)
    assert (caught.value.message, caught.value.position) == (message, position)


def test_a_template_with_a_scope_reads_the_outside_too() -> None:
    text = render_go_template("{{ $prev.args.x }} {{ $date.format `2006` }}", {}, scope=a_scope(x=1))
    assert text == "1 2025"


def test_a_loop_draws_anew_each_time() -> None:
    text = render_go_template("{{ range 3 }}{{ $rand.uuid }} {{ end }}", {}, scope=a_scope())
    assert len(set(text.split())) == 3


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{ range 1000 }}{{ range 1000 }}{{ range 1000 }}{{ end }}{{ end }}{{ end }}", "more work than one"),
        ("{{ range 5000 }}" + "{{ .x }}" * 2000 + "{{ end }}", "more work than one"),
        ("{{ range 1000 }}xxxxxxxxxx{{ end }}", "larger than a result may be"),
        ("{{ range 1000 }}{{ $.big }}{{ end }}", "larger than a result may be"),
    ],
)
def test_a_template_cannot_run_away(template: str, message: str) -> None:
    with pytest.raises(ExpressionError, match=message):
        render_go_template(template, {"big": "x" * 100}, output_bytes_max=5_000)


def test_a_pattern_matches_in_gos_dialect() -> None:
    found = compile_pattern(r"(?i)(?P<user>[a-z]+)@(\w+)").search("to ADA@acme now")
    assert (found.group("user"), found.span()) == ("ADA", (3, 11))


def test_a_pattern_is_compiled_once() -> None:
    assert compile_pattern("a+b") is compile_pattern("a+b")


@pytest.mark.parametrize(
    "pattern", ["(", r"(a)\1", "(?=a)", "a{2000}", "x" * 5_000, "\ud800", "((a{900}){900}){900}"]
)
def test_what_is_no_pattern_is_refused(pattern: str) -> None:
    with pytest.raises(PatternError):
        compile_pattern(pattern)


def test_a_hostile_pattern_takes_linear_time() -> None:
    assert compile_pattern("(a+)+$").search("a" * 50_000 + "b") is None
