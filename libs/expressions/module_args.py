"""Args that a module reads as templates itself (flow8 section 17.2, Q33): `{{ .field }}` stays for the module."""

import re
from typing import Any

from libs.expressions.compiler import Compiler, Evaluate, Reads
from libs.expressions.errors import ExpressionError
from libs.expressions.lexer import CLOSE, OPEN, Action, read_action
from libs.expressions.nodes import Call, Dot, Node, Prev, Variable, any_node
from libs.expressions.objects import SCOPELESS
from libs.expressions.printer import literal, pieces
from libs.expressions.scope import Frame
from libs.expressions.statements import Statement, parse_statement
from libs.expressions.template import (
    Template,
    TextCompiler,
    as_text,
    demand_short,
    joined,
    template_of,
    value_closure,
    whole_value,
)

# Braces that are put in may stand beside braces that are there, or that are put in next.
_BRACES = re.compile(r"\{\{|\A\{|\{\Z")


def compile_module_args(args: dict[str, Any], *, raw: frozenset[str]) -> Template:
    """The template of a module's args, of which the module interprets those named in `raw` itself.

    In a raw arg an expression without a bare `.field` is evaluated as everywhere. One with a bare `.field`, a
    template's keyword or variable stays text, except that what it reads from outside becomes a literal:
    `{{ gt .amount $prev.args.limit }}` reaches the module as `{{ gt .amount 100 }}`.
    Text that is put in cannot become an expression of the module: its `{{` is written as `{{ "{{" }}`.
    Raises ExpressionError.
    """
    reads = Reads()
    plain, kept = TextCompiler(reads), _RawCompiler(reads)
    runs = {
        name: value_closure(value, name, kept.on_text if name in raw else plain.on_text)
        for name, value in args.items()
    }
    dynamic = [(name, run) for name, run in runs.items() if run]

    def evaluate(frame: Frame) -> dict[str, Any]:
        made = args.copy()
        for name, run in dynamic:
            made[name] = run(frame)
        return made

    return template_of(args, reads, evaluate if dynamic else None)


class _RawCompiler:
    def __init__(self, reads: Reads) -> None:
        self._reads = reads

    def on_text(self, text: str, path: str) -> Evaluate | None:
        """How a raw text is evaluated; None when all of it is the module's."""
        demand_short(text, path)
        compiler = Compiler(text, self._reads, path=path)
        made: list[str | Evaluate] = []
        at = 0
        while (start := text.find(OPEN, at)) >= 0:
            try:
                action = read_action(text, start)
                statement = parse_statement(text, action)
            except ExpressionError:
                # The module reads it again and reports it as its own failure.
                break
            if start == 0 and action.end == len(text) and _is_ours(statement, action):
                return whole_value(compiler.compile(_node(statement)), compiler)
            made += [text[at:start], *_action(text[start : action.end], action, statement, compiler)]
            at = action.end
        made.append(text[at:])
        return joined(made) if any(not isinstance(piece, str) for piece in made) else None


def _node(statement: Statement) -> Node:
    assert statement.node is not None
    return statement.node


def _is_ours(statement: Statement, action: Action) -> bool:
    """Whether the engine evaluates the action as a whole. Trim markers act on text, which only the module has whole."""
    return (
        statement.node is not None
        and not statement.keyword
        and not statement.operator
        and not any_node(statement.node, _is_inner)
        and not (action.trims_before or action.trims_after)
    )


def _action(source: str, action: Action, statement: Statement, compiler: Compiler) -> list[str | Evaluate]:
    if statement.node is None:
        return [source]
    if _is_ours(statement, action):
        return [_escaped(as_text(compiler.compile(statement.node), compiler, statement.at))]
    left = pieces(statement.node, _is_outer)
    if all(isinstance(piece, str) for piece in left):
        return [source]
    written: list[str | Evaluate] = [
        piece if isinstance(piece, str) else _as_literal(compiler.compile(piece), compiler, piece.at)
        for piece in left
    ]
    return [_head(action, statement), *written, " -" + CLOSE if action.trims_after else " " + CLOSE]


def _head(action: Action, statement: Statement) -> str:
    names = ", ".join([f"${name}" for name in statement.names])
    words = [OPEN + "-" if action.trims_before else OPEN, statement.keyword, names, statement.operator]
    return " ".join([word for word in words if word]) + " "


def _escaped(evaluate: Evaluate) -> Evaluate:
    return lambda frame: _BRACES.sub(_quoted, evaluate(frame))


def _quoted(braces: re.Match[str]) -> str:
    return f'{{{{ "{braces[0]}" }}}}'


def _as_literal(evaluate: Evaluate, compiler: Compiler, at: int) -> Evaluate:
    return as_text(evaluate, compiler, at, write=literal)


def _is_inner(node: Node) -> bool:
    """Whether a node means something only inside the module."""
    return isinstance(node, Dot | Variable)


def _is_outer(node: Node) -> bool:
    """Whether a node is all of the outside world, and the same for every element: `$rand` draws for each anew."""
    return any_node(node, _reads_outside) and not any_node(node, _is_inner_or_random)


def _is_inner_or_random(node: Node) -> bool:
    return _is_inner(node) or (isinstance(node, Call) and node.name.startswith("$rand."))


def _reads_outside(node: Node) -> bool:
    if isinstance(node, Prev):
        return True
    return (
        isinstance(node, Call) and node.name.startswith("$") and node.name.partition(".")[0] not in SCOPELESS
    )
