"""What modules use of the expression language, its objections told as a step's failure."""

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

from libs.expressions import (
    Expression,
    ExpressionError,
    NeedsValue,
    PatternError,
    Scope,
    compile_expression,
    compile_pattern,
    render_go_template,
    stringify,
)
from libs.expressions.errors import Fault
from services.executor.modules.contract import ModuleFailed, Step

OPEN, CLOSE = "{{", "}}"
EXPRESSIONS_CACHED_MAX = 512

OfElement = Callable[[Any, Scope], Any]


def text_of(value: Any) -> str:
    """Return the canonical text of a JSON value (spec flow8 section 7)."""
    try:
        return stringify(value)
    except Fault as fault:
        raise _failed(fault) from fault


def pattern_of(pattern: str) -> Any:
    """Return a compiled RE2 pattern. Raises ModuleFailed when the text is none."""
    try:
        return compile_pattern(pattern)
    except PatternError as error:
        raise ModuleFailed(str(error), final=True) from error


def scope_of(step: Step, element: int | None = None) -> Scope:
    """Return what a module's own expressions see: the play's names and time, and chance of each element's own."""
    seed = step.seed or step.idempotency_key
    return Scope(
        prev={},
        flow_id=step.flow_id,
        play_id=step.play_id,
        company_id=step.company_id,
        now=step.now,
        seed=seed if element is None else f"{seed}[{element}]",
    )


def render(template: str, data: Any, step: Step) -> str:
    """Return a Go template's text for this data."""
    try:
        return render_go_template(template, data, scope=scope_of(step))
    except (ExpressionError, NeedsValue) as error:
        raise _failed(error) from error


def each(source: Any, items: list[Any], step: Step) -> Iterator[Any]:
    """Yield the value of `source` for each item, which is its `.`.

    Text is an expression, with or without braces, or a template when there is text around the braces; lists and
    objects are evaluated inside, where only text with braces is an expression; other values stand for themselves.
    Raises ModuleFailed (final, EXPRESSION_ERROR).
    """
    try:
        of_element = _compiled(source, bare=True)
        for index, item in enumerate(items):
            yield of_element(item, scope_of(step, index))
    except (ExpressionError, NeedsValue) as error:
        raise _failed(error) from error


def _failed(error: ExpressionError | NeedsValue | Fault) -> ModuleFailed:
    sentence = str(error)
    if isinstance(error, NeedsValue):
        # What the text names was read before the module started; this key came up only inside it.
        sentence = (
            f"the KV key {error.key[3]!r} depends on the module's own data; read it in a step before this one"
        )
    return ModuleFailed(sentence, code="EXPRESSION_ERROR", final=True)


def _compiled(source: Any, *, bare: bool) -> OfElement:
    match source:
        case str() if OPEN in source:
            return _of_text(source)
        case str() if bare:
            return _of_expression(_expression(source))
        case list():
            parts = [_compiled(part, bare=False) for part in source]
            return lambda item, scope: [part(item, scope) for part in parts]
        case dict():
            fields = [(name, _compiled(part, bare=False)) for name, part in source.items()]
            return lambda item, scope: {name: part(item, scope) for name, part in fields}
        case _:
            return lambda _item, _scope: source


def _of_text(source: str) -> OfElement:
    whole = source.strip()
    if whole.startswith(OPEN) and whole.endswith(CLOSE):
        try:
            return _of_expression(_expression(whole))
        except ExpressionError:
            # `{{ .first }} {{ .last }}` begins and ends alike and is a template; one expression is just wrong.
            if whole.count(OPEN) == 1:
                raise
    return lambda item, scope: render_go_template(source, item, scope=scope)


def _of_expression(expression: Expression) -> OfElement:
    return lambda item, scope: expression.evaluate(scope, item)


@lru_cache(maxsize=EXPRESSIONS_CACHED_MAX)
def _expression(source: str) -> Expression:
    return compile_expression(source)
