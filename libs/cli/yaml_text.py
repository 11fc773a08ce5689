"""YAML as flow files and answers use it: the JSON values and nothing else. Pure.

Words mean what they mean in YAML 1.2: `yes`, `on`, `12:30` and `2026-01-31` are text, neither booleans nor numbers nor
dates: what is written comes back as it was.
"""

import re
from collections.abc import Callable
from typing import Any, ClassVar

import yaml

_TAG = "tag:yaml.org,2002:"
# https://yaml.org/spec/1.2.2/#1032-tag-resolution, narrowed to what JSON can say: 007 and 0x7 are text.
_WORDS = (
    ("null", re.compile(r"^(?:null|Null|NULL|~|)$"), ["n", "N", "~", ""]),
    ("bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")),
    ("int", re.compile(r"^[-+]?(?:0|[1-9][0-9]*)$"), list("-+0123456789")),
    (
        "float",
        re.compile(r"^[-+]?(?:(?:\.[0-9]+|[0-9]+\.[0-9]*)(?:[eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+)$"),
        list("-+.0123456789"),
    ),
    ("merge", re.compile(r"^<<$"), ["<"]),
)
_LINE_ENDS = re.compile("[\x85\u2028\u2029]")
VALUES_MAX = 1_000_000
_KINDS = ("null", "bool", "int", "float", "str", "seq", "map")


class _Reader(yaml.SafeLoader):
    """Reads the words of YAML 1.2, and no key twice."""

    # Dates, sets and bytes, which a tag could ask for, are no values here.
    yaml_constructors: ClassVar[dict[str | None, Callable[..., Any]]] = {
        tag: make
        for tag, make in yaml.SafeLoader.yaml_constructors.items()
        if tag is None or tag.removeprefix(_TAG) in _KINDS
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        self.flatten_mapping(node)
        found: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise _problem("expected text as a key", key_node)
            if key in found:
                raise _problem(f"the key {key} stands twice", key_node)
            found[key] = self.construct_object(value_node, deep=deep)
        return found


class _Writer(yaml.SafeDumper):
    """Quotes what any YAML would read as something else than text."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002  # the parent's names
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002
        # Entries of a list stand further in than its name, as people write them.
        super().increase_indent(flow, False)


# Their own: those of the parents are shared with everybody who uses YAML in this process.
_Reader.yaml_implicit_resolvers = {}
_Writer.yaml_implicit_resolvers = {
    first: list(words) for first, words in yaml.SafeDumper.yaml_implicit_resolvers.items()
}
for _kind, _pattern, _first in _WORDS:
    _Reader.add_implicit_resolver(_TAG + _kind, _pattern, _first)
    _Writer.add_implicit_resolver(_TAG + _kind, _pattern, _first)


def read(text: str) -> Any:
    """Return the value of one YAML document. Raises ValueError telling what cannot be read, and where."""
    try:
        value = yaml.load(text, Loader=_Reader)  # noqa: S506  # a SafeLoader with fewer words
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(_told(error)) from error
    _check_size(value)
    return value


def write(value: Any) -> str:
    """Return a JSON value as a YAML document; keys keep their order, longer texts stand in blocks."""
    return yaml.dump(value, Dumper=_Writer, sort_keys=False, allow_unicode=True, width=100)


def _text(writer: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    # The writer itself falls back to quotes where a block cannot hold the text, but for these ends of lines.
    style = '"' if _LINE_ENDS.search(text) else "|" if "\n" in text else None
    return writer.represent_scalar(f"{_TAG}str", text, style=style)


_Writer.add_representer(str, _text)


def _check_size(value: Any) -> None:
    # A few lines of aliases can state more than memory holds, or a list that holds itself.
    count, left = 0, [value]
    while left:
        count += 1
        if count > VALUES_MAX:
            raise ValueError(f"it states more than {VALUES_MAX} values")
        match left.pop():
            case dict() as entries:
                left += entries.values()
            case list() as entries:
                left += entries


def _problem(what: str, node: yaml.Node) -> yaml.constructor.ConstructorError:
    return yaml.constructor.ConstructorError(None, None, what, node.start_mark)


def _told(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if not isinstance(error, yaml.MarkedYAMLError):
        return str(error)
    mark = error.problem_mark
    place = f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
    return f"{error.problem or error.context}{place}"
