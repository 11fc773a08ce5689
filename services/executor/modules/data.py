"""Values: hold them, fill templates with them, read and write JSON (spec flow8 section 17.2)."""

from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from services.executor.modules.contract import Module, ModuleFailed, PureModule, Step
from services.executor.modules.language import render
from services.executor.modules.nesting import NESTING_MAX, nests_too_deep

INDENT_MAX = 8


class VarArgs(Struct, frozen=True, kw_only=True):
    """Args of `var`."""

    values: Annotated[dict[str, Any], Meta(description="Names and their values.")]


class Var(PureModule[VarArgs]):
    """Named values."""

    app_id = "var"
    docs = "Holds values for later steps, which read them as `$prev.<ref>.<name>`; types are kept."
    Args = VarArgs
    shown_args = frozenset({"values"})
    args_example = {"values": {"greeting": "hello", "count": 3, "urgent": True}}
    out_example = {"greeting": "hello", "count": 3, "urgent": True}

    def evaluate(self, args: VarArgs, step: Step) -> dict[str, Any]:
        """Return the same map."""
        return args.values


class TemplateArgs(Struct, frozen=True, kw_only=True):
    """Args of `template`."""

    template: Annotated[str, Meta(description="Go template text; `{{ .name }}` is a field of `data`.")]
    data: Annotated[Any, Meta(description="What the template's `.` stands for.")] = {}


class Template(PureModule[TemplateArgs]):
    """Text from a Go template."""

    app_id = "template"
    isolated = True
    docs = (
        "Fills a Go template: fields, `if`, `range`, `with`, variables and every function of the expression language. "
        "A field that is missing is empty."
    )
    Args = TemplateArgs
    shown_args = frozenset({"template", "data"})
    args_example = {
        "template": "Dear {{ .name }}, {{ range .items }}{{ . }} {{ end }}await you.",
        "data": {"name": "Ada", "items": ["tea", "cake"]},
    }
    out_example = {"result": "Dear Ada, tea cake await you."}
    raw_args = frozenset({"template"})

    def evaluate(self, args: TemplateArgs, step: Step) -> dict[str, str]:
        """Return the filled text. Raises ModuleFailed (EXPRESSION_ERROR) when the template is wrong."""
        return {"result": render(args.template, args.data, step)}


class JsonParseArgs(Struct, frozen=True, kw_only=True):
    """Args of `json-parse`."""

    input: Annotated[Any, Meta(description="JSON text; a value that is no text is returned as it is.")]


class JsonParse(PureModule[JsonParseArgs]):
    """JSON text to a value."""

    app_id = "json-parse"
    isolated = True
    docs = "Reads JSON text; the step fails when it is not valid."
    Args = JsonParseArgs
    shown_args = frozenset({"input"})
    args_example = {"input": '{"id": 7, "tags": ["a", "b"]}'}
    out_example = {"result": {"id": 7, "tags": ["a", "b"]}}

    def evaluate(self, args: JsonParseArgs, step: Step) -> dict[str, Any]:
        """Return the value."""
        if not isinstance(args.input, str):
            return {"result": args.input}
        try:
            value = msgspec.json.decode(args.input)
        except (msgspec.DecodeError, RecursionError) as error:
            raise ModuleFailed(f"json-parse: input is not valid JSON: {error}", final=True) from error
        if nests_too_deep(value):
            raise ModuleFailed(f"json-parse: input nests more than {NESTING_MAX} deep", final=True)
        return {"result": value}


class JsonStringifyArgs(Struct, frozen=True, kw_only=True):
    """Args of `json-stringify`."""

    input: Annotated[Any, Meta(description="Any value.")]
    indent: Annotated[int, Meta(ge=0, le=INDENT_MAX, description="Blanks per level; 0 writes one line.")] = 0


class JsonStringify(PureModule[JsonStringifyArgs]):
    """A value to JSON text."""

    app_id = "json-stringify"
    isolated = True
    docs = "Writes a value as JSON text."
    Args = JsonStringifyArgs
    shown_args = frozenset({"input", "indent"})
    args_example = {"input": {"id": 7, "tags": ["a", "b"]}}
    out_example = {"result": '{"id":7,"tags":["a","b"]}'}

    def evaluate(self, args: JsonStringifyArgs, step: Step) -> dict[str, str]:
        """Return the text."""
        text = msgspec.json.encode(args.input)
        if args.indent:
            text = msgspec.json.format(text, indent=args.indent)
        return {"result": text.decode()}


MODULES: tuple[type[Module[Any]], ...] = (Var, Template, JsonParse, JsonStringify)
