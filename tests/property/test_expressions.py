"""Laws of the expression language: printing is the inverse of parsing, and nothing but its own errors escapes."""

from datetime import UTC, datetime
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from libs.expressions import (
    ExpressionError,
    NeedsValue,
    Scope,
    StepView,
    compile_expression,
    compile_module_args,
    compile_value,
    render_go_template,
    unparse,
)
from libs.expressions.function import Function
from libs.expressions.functions import FUNCTIONS
from libs.expressions.nodes import Node
from libs.expressions.objects import MEMBERS

LAWS = settings(max_examples=50)

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=12)
    | st.sampled_from(["7", "-1.5", "false", "2025-01-31", "[1]", "{{ .a }}", "%d"]),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text('abx -"', max_size=3), inner, max_size=4)
    ),
    max_leaves=8,
)
fields = st.sampled_from([".a", ".b", '["x y"]', "[0]", "[1]", ".state", ".error", ".a-b", ".0"])
quoted = st.text(max_size=8).map(lambda text: msgspec.json.encode(text).decode())
literals = (
    st.integers(-(2**63), 2**63 - 1).map(str)
    | st.floats(allow_nan=False, allow_infinity=False).map(
        lambda number: msgspec.json.encode(number).decode()
    )
    | quoted
    | st.sampled_from(["true", "false", "null", "''", "`a}}b`", "'2006-01-02'", '"\\u00e9"'])
)
paths = st.tuples(
    st.sampled_from(
        ["$prev", "$prev.args", "$prev.step", "$prev.input", "$kv.k", "$kv.secret", "$flowId", "$now", "."]
    ),
    st.lists(fields, max_size=3),
).map(
    lambda parts: parts[0].removesuffix("." if parts[1] and parts[1][0][0] == "." else "") + "".join(parts[1])
)
functions = st.sampled_from(
    sorted((FUNCTIONS | {name: f for name, f in MEMBERS.items() if "." in name}).items())
)


def _calls(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Calls with mostly the right number of arguments, straight, piped or with a path behind."""
    nested = inner.map(lambda text: f"({text})")

    def call(named: tuple[str, Function]) -> st.SearchStrategy[str]:
        name, function = named
        most = function.least + 2 if function.most is None else function.most
        args = st.lists(nested, min_size=function.least, max_size=most)
        straight = args.map(lambda given: " ".join([name, *given]))
        piped = args.map(
            lambda given: f"{given[0]} | {' '.join([name, *given[1:]])}" if given else f"1 | {name}"
        )
        return straight | piped

    return functions.flatmap(call) | st.tuples(nested, fields).map("".join)


operands = literals | paths
expressions = operands | _calls(operands) | _calls(operands | _calls(operands))
broken = st.lists(
    st.sampled_from([*"${}()[].|,:='\"`\\ -ab01\n", "add ", "$prev", "{{", "}}", "{{/*", "*/}}"]), max_size=15
).map("".join)
templates = st.lists(
    expressions.map(lambda text: f"{{{{ {text} }}}}")
    | broken
    | st.sampled_from(
        [
            "{{ if .a }}",
            "{{ range $i, $x := .b }}",
            "{{ range . }}",
            "{{ with $ }}",
            "{{ else }}",
            "{{ end }}",
            "{{- $x -}}",
        ]
    ),
    max_size=5,
).map("".join)


def a_scope(values: dict[str, Any], out: Any) -> Scope:
    return Scope(
        prev={"args": values, "step": StepView(out=out, state="FAIL", error="no")},
        flow_id="flow",
        play_id="play",
        company_id="acme",
        now=datetime(2025, 1, 31, 12, tzinfo=UTC),
        seed="play:step",
        kv={("get", None, None, "k"): out},
    )


scopes = st.builds(a_scope, st.dictionaries(st.sampled_from(["a", "b"]), json_values), json_values)


def outcome(run: Any, *args: Any, **options: Any) -> Any:
    """The value, or which of the two errors of the language; everything else fails the test."""
    try:
        return "value", run(*args, **options)
    except ExpressionError as error:
        return "error", error.message, error.position
    except NeedsValue as missing:
        return "needs", missing.key


def shape(node: Node) -> Any:
    """A tree without its offsets; 1, 1.0 and true are told apart."""
    values = {name: getattr(node, name) for name in node.__struct_fields__ if name not in ("at", "depth")}
    return type(node).__name__, {name: _shape_of(value) for name, value in values.items()}


def _shape_of(value: Any) -> Any:
    if isinstance(value, Node):
        return shape(value)
    return [_shape_of(part) for part in value] if isinstance(value, tuple) else repr(value)


@given(expressions)
@LAWS
def test_printing_and_parsing_again_gives_the_same_tree(source: str) -> None:
    kind, *compiled = outcome(compile_expression, source)
    if kind == "value":
        again = compile_expression(unparse(compiled[0]))
        assert shape(again.node) == shape(compiled[0].node)


@given(expressions, scopes, json_values)
@LAWS
def test_an_expression_gives_a_value_or_an_error_of_the_language(source: str, scope: Scope, dot: Any) -> None:
    kind, *compiled = outcome(compile_expression, source)
    if kind == "value":
        assert outcome(compiled[0].evaluate, scope, dot)[0] in ("value", "error", "needs")


@given(broken | st.text(max_size=20), scopes)
@LAWS
def test_any_text_compiles_or_is_refused(text: str, scope: Scope) -> None:
    for compile_text in (compile_expression, compile_value):
        kind, *compiled = outcome(compile_text, "{{" + text)
        if kind == "value":
            assert outcome(compiled[0].evaluate, scope)[0] in ("value", "error", "needs")


@given(expressions, scopes)
@LAWS
def test_the_same_scope_gives_the_same_value(source: str, scope: Scope) -> None:
    value = {"whole": f"{{{{ {source} }}}}", "text": f"a {{{{ {source} }}}} b"}
    first, second = (outcome(lambda: compile_value(value).evaluate(scope)) for _ in range(2))
    assert repr(first) == repr(second)


@given(st.lists(expressions, max_size=4), scopes, st.integers(0, 60))
@LAWS
def test_what_expressions_put_in_is_never_larger_than_allowed(
    sources: list[str], scope: Scope, bytes_max: int
) -> None:
    for text in (
        "".join(f"{{{{ {source} }}}}" for source in sources),
        [f"{{{{ {source} }}}}" for source in sources],
    ):
        kind, *rest = outcome(
            lambda text=text: compile_value(text).evaluate(scope, output_bytes_max=bytes_max)
        )
        if kind == "value":
            made = rest[0] if isinstance(rest[0], list) else [rest[0]]
            sized = [part for part in made if isinstance(part, str | list | dict)]
            assert (
                sum(len(p.encode() if isinstance(p, str) else msgspec.json.encode(p)) for p in sized)
                <= bytes_max
            )


@given(templates, json_values, scopes)
@LAWS
def test_a_go_template_gives_text_within_its_bound_or_an_error(
    template: str, data: Any, scope: Scope
) -> None:
    kind, *rest = outcome(render_go_template, template, data, scope=scope, output_bytes_max=200)
    if kind == "value":
        assert len(rest[0].encode()) <= 200


@given(templates, scopes)
@LAWS
def test_raw_args_survive_any_template(template: str, scope: Scope) -> None:
    kind, *compiled = outcome(compile_module_args, {"template": template}, raw=frozenset({"template"}))
    if kind == "value":
        assert outcome(compiled[0].evaluate, scope)[0] in ("value", "error", "needs")


@given(json_values, st.text(max_size=10), st.text(max_size=10))
@LAWS
def test_text_put_into_a_raw_arg_is_shown_by_the_module_as_it_is(value: Any, first: str, second: str) -> None:
    scope = a_scope({"a": first, "b": second}, value)
    args = {"template": "{{ $prev.args.a }}{{ $prev.args.b }}{{ .x }}"}
    made = compile_module_args(args, raw=frozenset({"template"})).evaluate(scope)
    assert render_go_template(made["template"], {"x": "!"}) == f"{first}{second}!"
