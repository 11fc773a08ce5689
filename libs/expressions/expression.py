"""A single expression, for the modules that apply one to many elements."""

from dataclasses import dataclass
from typing import Any

from libs.expressions.compiler import Compiler, Evaluate, Reads
from libs.expressions.errors import ExpressionError
from libs.expressions.lexer import BLANKS, OPEN, read_action, read_bare
from libs.expressions.nodes import Node
from libs.expressions.parser import Parser
from libs.expressions.printer import printed
from libs.expressions.scope import Frame, Scope


@dataclass(frozen=True, slots=True)
class Expression:
    """A compiled expression; immutable, so threads may share it. `refs` and the like as in `Template`."""

    node: Node
    run: Evaluate
    refs: frozenset[str]
    state_refs: frozenset[str]
    kv_keys: frozenset[tuple[Any, ...]]

    def evaluate(self, scope: Scope, dot: Any = None) -> Any:
        """The value for this scope, with `dot` behind `.` and `.field`. Raises ExpressionError and NeedsValue."""
        return self.run(Frame(scope, dot))


def compile_expression(source: str) -> Expression:
    """The expression in `source`, with or without `{{ }}` around it. Raises ExpressionError."""
    node = parse(source)
    reads = Reads()
    run = Compiler(source, reads, dotted=True).compile(node)
    return Expression(
        node=node,
        run=run,
        refs=frozenset(reads.refs),
        state_refs=frozenset(reads.state_refs),
        kv_keys=frozenset(reads.kv_keys),
    )


def unparse(expression: Expression) -> str:
    """The expression's text, without braces; compiling it gives the same tree."""
    return printed(expression.node)


def parse(source: str) -> Node:
    """The syntax tree of `source`, with or without its braces. Raises ExpressionError."""
    start = len(source) - len(source.lstrip(BLANKS))
    if not source.startswith(OPEN, start):
        return Parser(source, read_bare(source)).whole()
    action = read_action(source, start)
    if source[action.end :].strip(BLANKS):
        raise ExpressionError("one expression is wanted, not more text", position=action.end, text=source)
    return Parser(source, action.tokens).whole()
