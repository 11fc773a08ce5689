"""Go's text/template over our expressions, for the module `template` (flow8 section 17.2)."""

from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any

from libs.expressions.compiler import Compiler, Evaluate, Reads
from libs.expressions.errors import ExpressionError, Fault
from libs.expressions.lexer import OPEN, read_action
from libs.expressions.limits import (
    EXPRESSION_DEPTH_MAX,
    EXPRESSIONS_MAX,
    OUTPUT_BYTES_MAX,
    STEP_WORK_BYTES,
    TEMPLATE_CHARS_CACHED_MAX,
    TEMPLATES_CACHED_MAX,
    TEXT_CHARS_MAX,
)
from libs.expressions.scope import Frame, Scope
from libs.expressions.statements import Statement, parse_statement
from libs.expressions.template import as_text, trimmed
from libs.expressions.values import kind_of, text_bytes, truthy

Run = Callable[[Frame, list[str]], str]  # writes, and says how it ended: "", "break" or "continue"
Part = str | Statement

_BRANCHES = frozenset({"else", "else if", "else with"})


def render_go_template(
    template: str, data: Any, *, scope: Scope | None = None, output_bytes_max: int = OUTPUT_BYTES_MAX
) -> str:
    """The template's text for `data`, which is `.` and `$`.

    Actions: pipelines, if / else if / else, range / else, with / else, variables, break, continue, comments and trim
    markers; all functions of the expression language. Unlike Go, a missing field is empty and objects
    and lists are written as JSON. `$prev`, `$date` and the like need a `scope`.
    Raises ExpressionError (with `scope`, also NeedsValue).
    """
    cached = len(template) <= TEMPLATE_CHARS_CACHED_MAX
    run, variables = (_compiled if cached else _compile)(template, scope is not None)
    frame = Frame(scope, data, output_bytes_max)
    frame.variables = [None] * variables
    frame.variables[0] = data
    written: list[str] = []
    run(frame, written)
    return "".join(written)


def _compile(template: str, scoped: bool) -> tuple[Run, int]:
    if len(template) > TEXT_CHARS_MAX:
        raise ExpressionError(f"a template has at most {TEXT_CHARS_MAX} characters")
    compiler = _TemplateCompiler(template, scoped=scoped)
    return compiler.whole(), compiler.places


_compiled = lru_cache(maxsize=TEMPLATES_CACHED_MAX)(_compile)


def _parts(text: str) -> list[Part]:
    """Texts, trimmed, and statements in turn."""
    parts: list[Part] = []
    at, trims = 0, False
    while (start := text.find(OPEN, at)) >= 0:
        action = read_action(text, start)
        parts.append(trimmed(text[at:start], start=trims, end=action.trims_before))
        parts.append(parse_statement(text, action))
        if len(parts) > 2 * EXPRESSIONS_MAX:
            raise ExpressionError(
                f"a template has at most {EXPRESSIONS_MAX} actions", position=start, text=text
            )
        at, trims = action.end, action.trims_after
    parts.append(trimmed(text[at:], start=trims, end=False))
    return parts


class _TemplateCompiler:
    """Compiles statements to closures that write; keeps the variables in sight and the blocks that are open."""

    def __init__(self, text: str, *, scoped: bool) -> None:
        self.places = 1  # `$`
        self._compiler = Compiler(text, Reads(), scoped=scoped, dotted=True)
        self._compiler.variables = {"": 0}
        self._parts = iter(_parts(text))
        self._depth = 0
        self._loops = 0

    def whole(self) -> Run:
        """The template; every block must be closed."""
        run, closing = self._block()
        if closing:
            raise self._compiler.error(f"{closing.keyword} without a block", closing.at)
        return run

    def _block(self) -> tuple[Run, Statement | None]:
        """The runs up to `end`, `else` or the end of the text, and the statement that closed them."""
        runs: list[Run] = []
        before = self._compiler.variables
        closing = None
        for part in self._parts:
            if isinstance(part, str):
                runs += [self._text(part)] if part else []
            elif part.keyword == "end" or part.keyword in _BRANCHES:
                closing = part
                break
            elif part.keyword != "comment":
                runs.append(self._statement(part))
        self._compiler.variables = before
        return _sequence(runs), closing

    def _text(self, text: str) -> Run:
        self._compiler.parts += 1
        size = text_bytes(text)
        error = self._compiler.error

        def run(frame: Frame, written: list[str]) -> str:
            try:
                frame.emit(size)
            except Fault as fault:
                raise error(str(fault), 0) from fault
            written.append(text)
            return ""

        return run

    def _statement(self, statement: Statement) -> Run:
        match statement.keyword:
            case "if" | "with":
                return self._nested(statement, self._branch)
            case "range":
                return self._nested(statement, self._range)
            case "break" | "continue" as keyword:
                if not self._loops:
                    raise self._compiler.error(f"{keyword} outside of range", statement.at)
                return lambda _, __: keyword
            case _:
                return self._pipeline(statement)

    def _nested(self, statement: Statement, compile_block: Callable[[Statement], Run]) -> Run:
        self._depth += 1
        if self._depth > EXPRESSION_DEPTH_MAX:
            raise self._compiler.error(f"blocks nest at most {EXPRESSION_DEPTH_MAX} deep", statement.at)
        before = self._compiler.variables
        run = compile_block(statement)
        self._compiler.variables = before
        self._depth -= 1
        return run

    def _pipeline(self, statement: Statement) -> Run:
        evaluate = self._evaluate(statement)
        if statement.operator:
            set_variable = self._setter(statement)

            def assign(frame: Frame, _: list[str]) -> str:
                set_variable(frame, evaluate(frame))
                return ""

            return assign
        shown = as_text(evaluate, self._compiler, statement.at)

        def write(frame: Frame, written: list[str]) -> str:
            written.append(shown(frame))
            return ""

        return write

    def _evaluate(self, statement: Statement) -> Evaluate:
        assert statement.node is not None
        return self._compiler.compile(statement.node)

    def _setter(self, statement: Statement) -> Callable[[Frame, Any], None]:
        (name,) = statement.names
        if statement.operator == ":=":
            return _set_at(self._declare(name))
        if name not in self._compiler.variables:
            raise self._compiler.error(f"there is no variable ${name[:40]}", statement.at)
        return _set_at(self._compiler.variables[name])

    def _declare(self, name: str) -> int:
        place = self.places
        self.places += 1
        self._compiler.variables = {**self._compiler.variables, name: place}
        return place

    def _branch(self, statement: Statement) -> Run:
        evaluate = self._evaluate(statement)
        set_variable = self._setter(statement) if statement.names else None
        then, otherwise = self._arms(statement)
        rebinds = statement.keyword.endswith("with")

        def run(frame: Frame, written: list[str]) -> str:
            value = evaluate(frame)
            if set_variable:
                set_variable(frame, value)
            if not truthy(value):
                return otherwise(frame, written)
            if not rebinds:
                return then(frame, written)
            before, frame.dot = frame.dot, value
            ended = then(frame, written)
            frame.dot = before
            return ended

        return run

    def _arms(self, statement: Statement) -> tuple[Run, Run]:
        """The block and what stands behind its `else`, which may be a block of its own."""
        then, closing = self._block()
        if closing is None:
            raise self._compiler.error(f"{statement.keyword} is not closed with end", statement.at)
        if closing.keyword == "end":
            return then, _nothing
        if closing.keyword != "else":
            if statement.keyword.rpartition(" ")[2] != closing.keyword.rpartition(" ")[2]:
                raise self._compiler.error(
                    f"{closing.keyword} does not belong to {statement.keyword}", closing.at
                )
            return then, self._nested(closing, self._branch)
        otherwise, last = self._block()
        if last is None or last.keyword != "end":
            raise self._compiler.error("else is not closed with end", closing.at)
        return then, otherwise

    def _range(self, statement: Statement) -> Run:
        evaluate = self._evaluate(statement)
        setters = [_set_at(self._declare(name)) for name in statement.names]
        parts = self._compiler.parts
        self._loops += 1
        body, otherwise = self._arms(statement)
        self._loops -= 1
        pass_bytes = STEP_WORK_BYTES * (1 + self._compiler.parts - parts)
        error = self._compiler.error

        def run(frame: Frame, written: list[str]) -> str:
            before, looped = frame.dot, False
            try:
                for key, value in _elements(evaluate(frame)):
                    frame.spend(pass_bytes)
                    looped, frame.dot = True, value
                    # One variable is the element, of two the first is its index or key.
                    for set_variable, found in zip(setters, (key, value)[-len(setters) or 2 :], strict=False):
                        set_variable(frame, found)
                    if body(frame, written) == "break":
                        break
            except Fault as fault:
                raise error(str(fault), statement.at) from fault
            frame.dot = before
            return "" if looped else otherwise(frame, written)

        return run


def _elements(value: Any) -> Iterable[tuple[Any, Any]]:
    if value is None:
        return ()
    if type(value) is int:
        return ((number, number) for number in range(value))
    if isinstance(value, list):
        return enumerate(value)
    if isinstance(value, dict):
        return sorted(value.items(), key=lambda item: str(item[0]))
    raise Fault(f"range needs a list, an object or a whole number, not {kind_of(value)}")


def _set_at(place: int) -> Callable[[Frame, Any], None]:
    def set_variable(frame: Frame, value: Any) -> None:
        frame.variables[place] = value

    return set_variable


def _nothing(_: Frame, __: list[str]) -> str:
    return ""


def _sequence(runs: list[Run]) -> Run:
    if len(runs) == 1:
        return runs[0]
    kept = tuple(runs)

    def run(frame: Frame, written: list[str]) -> str:
        for part in kept:
            ended = part(frame, written)
            if ended:
                return ended
        return ""

    return run
