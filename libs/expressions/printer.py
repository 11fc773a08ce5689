"""A syntax tree back to text: printing and parsing again gives the same tree."""

import re
from collections.abc import Callable
from typing import Any

from libs.expressions.lexer import FIELD
from libs.expressions.nodes import Call, Dot, Literal, Node, Path, Prev, Variable
from libs.expressions.values import json_text

_FIELD = re.compile(FIELD)


def printed(node: Node) -> str:
    """The text of an expression, without braces."""
    return "".join([piece for piece in pieces(node, lambda _: False) if isinstance(piece, str)])


def pieces(node: Node, is_left: Callable[[Node], bool]) -> list[str | Node]:
    """The text in pieces, with every outermost node that `is_left` chooses left as it is."""
    made: list[str | Node] = []
    _print(node, made, is_left, inside=False)
    return made


def literal(value: Any) -> str:
    """A JSON value as an operand."""
    if isinstance(value, list | dict):
        return f"($q.jsonParse {_quoted(json_text(value))})"
    return _quoted(value) if isinstance(value, str) else json_text(value)


def _quoted(value: str) -> str:
    # JSON's escapes are a part of ours.
    return json_text(value)


def _print(node: Node, made: list[str | Node], is_left: Callable[[Node], bool], *, inside: bool) -> None:
    if is_left(node):
        made.append(node)
        return
    match node:
        case Literal(value=value):
            made.append(literal(value))
        case Dot():
            made.append(".")
        case Variable(name=name):
            made.append(f"${name}")
        case Prev():
            made.append("$prev")
        case Path(base=base, keys=keys):
            _print(base, made, is_left, inside=True)
            made.append(_keys(keys, after_dot=isinstance(base, Dot)))
        case Call(name=name, args=args):
            bracketed = inside and (bool(args) or not name.startswith("$"))
            made.append(f"({name}" if bracketed else name)
            for arg in args:
                made.append(" ")
                _print(arg, made, is_left, inside=True)
            made.append(")" if bracketed else "")
        case _:
            raise AssertionError(node)


def _keys(keys: tuple[str | int, ...], *, after_dot: bool) -> str:
    shown = "".join([_key(key) for key in keys])
    return shown.removeprefix(".") if after_dot else shown


def _key(key: str | int) -> str:
    if isinstance(key, int):
        return f"[{key}]"
    return f".{key}" if _FIELD.fullmatch(key) else f"[{_quoted(key)}]"
