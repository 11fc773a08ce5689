"""The syntax tree of an expression; pipes and redundant parentheses are gone by then."""

from collections.abc import Callable
from typing import Any

import msgspec


class Node(msgspec.Struct, frozen=True):
    """A part of an expression; `at` is its offset in the text, `depth` the levels below and including it."""

    at: int = 0
    depth: int = 1


class Literal(Node, frozen=True, kw_only=True):
    """A string, number, boolean or null."""

    value: Any


class Dot(Node, frozen=True):
    """What `.` stands for."""


class Variable(Node, frozen=True, kw_only=True):
    """`$x` of a template; `$` itself is the variable of the empty name."""

    name: str


class Prev(Node, frozen=True):
    """`$prev` itself."""


class Path(Node, frozen=True, kw_only=True):
    """Fields (text) and indexes (int) below a base; the base is no Path."""

    base: Node
    keys: tuple[str | int, ...]


class Call(Node, frozen=True, kw_only=True):
    """A function (`upper`), a member of an object (`$date.format`) or a plain name (`$flowId`) with its arguments."""

    name: str
    args: tuple[Node, ...] = ()


def any_node(node: Node, holds: Callable[[Node], bool]) -> bool:
    """Whether `holds` is true of this node or of one below it."""
    return holds(node) or any(any_node(child, holds) for child in _children(node))


def _children(node: Node) -> tuple[Node, ...]:
    match node:
        case Path(base=base):
            return (base,)
        case Call(args=args):
            return args
        case _:
            return ()
