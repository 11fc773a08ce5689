"""JSON values with expressions inside, compiled once and evaluated often."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from libs.expressions.compiler import Compiler, Evaluate, Reads
from libs.expressions.errors import ExpressionError, Fault
from libs.expressions.lexer import BLANKS, OPEN, Action, read_action
from libs.expressions.limits import (
    EXPRESSIONS_MAX,
    OUTPUT_BYTES_MAX,
    TEXT_CHARS_MAX,
    VALUE_DEPTH_MAX,
)
from libs.expressions.parser import Parser
from libs.expressions.scope import Frame, Scope
from libs.expressions.values import json_size, stringify, text_bytes


@dataclass(frozen=True, slots=True)
class Template:
    """A JSON value whose strings may hold expressions; immutable, so threads may share it.

    `static`: it holds none. `refs`: the refs read through `$prev.<ref>` (`"*"`: `$prev` as a whole).
    `state_refs`: those whose `.state` or `.error` is read (flow8 section 11, Q9). `kv_keys`: the KV entries
    known to be read, as in `NeedsValue`, so that a caller may fetch them at once.
    """

    value: Any
    static: bool
    refs: frozenset[str]
    state_refs: frozenset[str]
    kv_keys: frozenset[tuple[Any, ...]]
    run: Evaluate | None

    def evaluate(self, scope: Scope, *, output_bytes_max: int = OUTPUT_BYTES_MAX) -> Any:
        """The value with every expression replaced (flow8 section 7).

        A string that is one expression becomes that expression's JSON value; in a longer string each
        becomes its canonical string. Parts of `scope` and of the template are shared with the result, not copied.
        Raises ExpressionError, also when the texts made exceed `output_bytes_max`, and NeedsValue for a KV
        entry that `scope.kv` lacks.
        """
        return self.value if self.run is None else self.run(Frame(scope, None, output_bytes_max))


OnText = Callable[[str, str], Evaluate | None]  # text, path → how it is evaluated; None: it stays


def compile_value(value: Any, *, path: str = "") -> Template:
    """The template of any JSON value; keys of objects hold no expressions. Raises ExpressionError.

    `path` is the value's own place (`filters[0].leftValue`); it stands in messages and keeps the `$rand` of two
    values apart.
    """
    reads = Reads()
    return template_of(value, reads, value_closure(value, path, TextCompiler(reads).on_text))


def template_of(value: Any, reads: Reads, run: Evaluate | None) -> Template:
    """The template that `run` evaluates; None: `value` holds no expression."""
    return Template(
        value=value,
        static=run is None,
        refs=frozenset(reads.refs),
        state_refs=frozenset(reads.state_refs),
        kv_keys=frozenset(reads.kv_keys),
        run=run,
    )


def value_closure(value: Any, path: str, on_text: OnText, depth: int = 0) -> Evaluate | None:
    """How a value is evaluated; None when nothing in it is. Raises ExpressionError for one that nests too deep."""
    match value:
        case str():
            return on_text(value, path) if OPEN in value else None
        case dict() | list() if depth >= VALUE_DEPTH_MAX:
            raise ExpressionError(f"a value nests at most {VALUE_DEPTH_MAX} deep", path=path[:100])
        case dict():
            named = (
                (key, value_closure(item, _below(path, key), on_text, depth + 1))
                for key, item in value.items()
            )
            return _object(value, [(key, run) for key, run in named if run])
        case list():
            placed = (
                (place, value_closure(item, f"{path}[{place}]", on_text, depth + 1))
                for place, item in enumerate(value)
            )
            return _list(value, [(place, run) for place, run in placed if run])
        case _:
            return None


def _below(path: str, key: Any) -> str:
    return f"{path}.{key}" if path else str(key)


def _object(value: dict[str, Any], dynamic: list[tuple[str, Evaluate]]) -> Evaluate | None:
    if not dynamic:
        return None

    def run(frame: Frame) -> dict[str, Any]:
        made = value.copy()  # keeps the order of the keys
        for key, evaluate in dynamic:
            made[key] = evaluate(frame)
        return made

    return run


def _list(value: list[Any], dynamic: list[tuple[int, Evaluate]]) -> Evaluate | None:
    if not dynamic:
        return None

    def run(frame: Frame) -> list[Any]:
        made = value.copy()
        for place, evaluate in dynamic:
            made[place] = evaluate(frame)
        return made

    return run


class TextCompiler:
    """Compiles the texts of one value; counts their expressions."""

    def __init__(self, reads: Reads) -> None:
        self.reads = reads
        self._expressions = 0

    def on_text(self, text: str, path: str) -> Evaluate | None:
        """How a text with expressions is evaluated."""
        demand_short(text, path)
        compiler = Compiler(text, self.reads, path=path)
        pieces: list[str | Evaluate] = []
        at, trims = 0, False
        try:
            while (start := text.find(OPEN, at)) >= 0:
                action = read_action(text, start)
                pieces.append(trimmed(text[at:start], start=trims, end=action.trims_before))
                at, trims = action.end, action.trims_after
                evaluate = self.expression(action, compiler)
                if evaluate and start == 0 and at == len(text):
                    return whole_value(evaluate, compiler)
                if evaluate:
                    pieces.append(as_text(evaluate, compiler, start))
        except ExpressionError as error:
            raise _in_path(error, text, path) from error
        pieces.append(trimmed(text[at:], start=trims, end=False))
        return joined(pieces)

    def expression(self, action: Action, compiler: Compiler) -> Evaluate | None:
        """How an action is evaluated; None for a comment."""
        self._expressions += 1
        if self._expressions > EXPRESSIONS_MAX:
            raise compiler.error(f"a value holds at most {EXPRESSIONS_MAX} expressions", action.tokens[0].at)
        if action.is_comment:
            return None
        return compiler.compile(Parser(compiler.text, action.tokens).whole())


def demand_short(text: str, path: str) -> None:
    """Raise ExpressionError for a text that is too long to hold expressions."""
    if len(text) > TEXT_CHARS_MAX:
        raise ExpressionError(f"a text with expressions has at most {TEXT_CHARS_MAX} characters", path=path)


def trimmed(text: str, *, start: bool, end: bool) -> str:
    """The text without the blanks that a trim marker beside it cuts."""
    text = text.lstrip(BLANKS) if start else text
    return text.rstrip(BLANKS) if end else text


def whole_value(evaluate: Evaluate, compiler: Compiler) -> Evaluate:
    """The JSON value itself, its place in the output paid for."""

    def run(frame: Frame) -> Any:
        value = evaluate(frame)
        kind = type(value)
        try:
            if kind is str:
                frame.emit(len(value) if value.isascii() else text_bytes(value))
            elif kind is dict or kind is list:
                frame.emit(json_size(value))
        except Fault as fault:
            raise compiler.error(str(fault), 0) from fault
        return value

    return run


def as_text(
    evaluate: Evaluate, compiler: Compiler, at: int, *, write: Callable[[Any], str] = stringify
) -> Evaluate:
    """A value as text, its canonical string by default, its place in the output paid for."""

    def run(frame: Frame) -> str:
        value = evaluate(frame)
        try:
            text = write(value)
            frame.emit(len(text) if text.isascii() else text_bytes(text))
        except Fault as fault:
            raise compiler.error(str(fault), at) from fault
        return text

    return run


def joined(pieces: list[str | Evaluate]) -> Evaluate:
    """The pieces one after another."""
    kept = tuple([piece for piece in pieces if piece != ""])

    def run(frame: Frame) -> str:
        return "".join([piece if isinstance(piece, str) else piece(frame) for piece in kept])

    return run


def _in_path(error: ExpressionError, text: str, path: str) -> ExpressionError:
    # The lexer and the parser know the text but not where it stands.
    return ExpressionError(error.message, position=error.position, text=text, path=path)
