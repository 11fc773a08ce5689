"""The functions of the language, value first; here those that compare and decide."""

import operator
from collections.abc import Callable
from typing import Any

from libs.expressions.arithmetic import ARITHMETIC
from libs.expressions.function import Function, Later, weight
from libs.expressions.lists import LISTS
from libs.expressions.scope import Frame
from libs.expressions.texts import TEXTS
from libs.expressions.values import equal, is_empty, order_of, truthy

_NUMBERS = frozenset({int, float})


def _eq(frame: Frame, value: Any, *others: Any) -> bool:
    for other in others:
        frame.spend(weight(value) + weight(other))
        if equal(value, other):
            return True
    return False


def _ordering(accepts: Callable[[Any, Any], bool]) -> Callable[..., bool]:
    def compare(frame: Frame, left: Any, right: Any) -> bool:
        if type(left) in _NUMBERS and type(right) in _NUMBERS:
            return accepts(left, right)
        frame.spend(weight(left) + weight(right))
        return accepts(order_of(left, right), 0)

    return compare


def _and(frame: Frame, *values: Later) -> Any:
    value = None
    for later in values:
        value = later(frame)
        if not truthy(value):
            break
    return value


def _or(frame: Frame, *values: Later) -> Any:
    value = None
    for later in values:
        value = later(frame)
        if truthy(value):
            break
    return value


def _default(frame: Frame, value: Later, fallback: Later) -> Any:
    given = value(frame)
    return fallback(frame) if is_empty(given) else given


def _coalesce(frame: Frame, *values: Later) -> Any:
    value = None
    for later in values:
        value = later(frame)
        if not is_empty(value):
            break
    return value


def _ternary(frame: Frame, condition: Later, then: Later, otherwise: Later) -> Any:
    return then(frame) if truthy(condition(frame)) else otherwise(frame)


_GE = _ordering(operator.ge)
_LE = _ordering(operator.le)


def _ne(frame: Frame, left: Any, right: Any) -> bool:
    return not _eq(frame, left, right)


# Where Go has a function of the name, operands and pipe follow Go: the piped value comes last.
FUNCTIONS: dict[str, Function] = {
    **ARITHMETIC,
    **TEXTS,
    **LISTS,
    "default": Function(_default, 2, 2, lazy=True),
    "coalesce": Function(_coalesce, 1, None, lazy=True),
    "ternary": Function(_ternary, 3, 3, lazy=True),
    "eq": Function(_eq, 2, None, "last"),
    "ne": Function(_ne, 2, 2, "last"),
    "neq": Function(_ne, 2, 2, "last"),
    "gt": Function(_ordering(operator.gt), 2, 2, "last"),
    "ge": Function(_GE, 2, 2, "last"),
    "gte": Function(_GE, 2, 2, "last"),
    "lt": Function(_ordering(operator.lt), 2, 2, "last"),
    "le": Function(_LE, 2, 2, "last"),
    "lte": Function(_LE, 2, 2, "last"),
    "and": Function(_and, 1, None, "last", lazy=True),
    "or": Function(_or, 1, None, "last", lazy=True),
    "not": Function(lambda _, value: not truthy(value), 1, 1, "last"),
}
