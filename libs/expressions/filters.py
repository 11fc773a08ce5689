"""Filters decide whether a step runs (flow8 section 6): two sides, an operator, a cast, and/or."""

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from libs.expressions import (
    ExpressionError,
    Scope,
    Template,
    compile_pattern,
    compile_value,
)
from libs.expressions.errors import Fault
from libs.expressions.values import contains, equal, is_empty, number_of, order_of, stringify

FILTERS_MAX = 100  # of one step

Compare = Callable[[Any, Any], bool]


class FilterError(Exception):
    """A filter that is not well formed: number `index` of the list, because of its `field`."""

    def __init__(self, message: str, *, index: int, field: str) -> None:
        self.message = message
        self.index = index
        self.field = field
        where = f"filters[{index}].{field}" if field else f"filters[{index}]"
        super().__init__(f"{where}: {message}")


class _CastFailed(Exception):
    """A value that the cast does not fit; the filter is then false."""


def _cast_number(value: Any) -> int | float:
    if isinstance(value, bool):
        return int(value)
    number = number_of(value)
    if number is None:
        raise _CastFailed
    return number


_BOOLEANS = {"true": True, "1": True, "false": False, "0": False, "": False}


def _cast_boolean(value: Any) -> bool:
    boolean = _BOOLEANS.get(stringify(value).strip().lower())
    if boolean is None:
        raise _CastFailed
    return boolean


def _matches(left: Any, right: Any) -> bool:
    return compile_pattern(stringify(right)).search(stringify(left)) is not None


_OPERATORS: dict[str, Compare] = {
    "eq": equal,
    "neq": lambda left, right: not equal(left, right),
    "gt": lambda left, right: order_of(left, right) > 0,
    "gte": lambda left, right: order_of(left, right) >= 0,
    "lt": lambda left, right: order_of(left, right) < 0,
    "lte": lambda left, right: order_of(left, right) <= 0,
    "contains": contains,
    "not_contains": lambda left, right: not contains(left, right),
    "is_empty": lambda left, _: is_empty(left),
    "not_empty": lambda left, _: not is_empty(left),
    "regex": _matches,
}
# Once both sides are of the cast's type, they compare as that type: "10" is below "9" as a string.
_TYPED: dict[str, Compare] = {
    "eq": operator.eq,
    "neq": operator.ne,
    "gt": operator.gt,
    "gte": operator.ge,
    "lt": operator.lt,
    "lte": operator.le,
}
_CASTS: dict[str, Callable[[Any], Any]] = {
    "string": stringify,
    "number": _cast_number,
    "boolean": _cast_boolean,
}
_CONTAINMENT = frozenset({"contains", "not_contains"})
_MODES = frozenset({"and", "or"})


class Filter(msgspec.Struct, frozen=True):
    """One filter, its two sides compiled."""

    left: Template
    right: Template
    compare: Compare
    path: str

    def passes(self, scope: Scope) -> bool:
        """Whether this filter is true; one whose cast fails is not. Raises ExpressionError and NeedsValue."""
        left, right = self.left.evaluate(scope), self.right.evaluate(scope)
        try:
            return self.compare(left, right)
        except _CastFailed:
            return False
        except Fault as fault:
            raise ExpressionError(str(fault), text=str(self.right.value), path=self.path) from fault


@dataclass(frozen=True, slots=True)
class Filters:
    """The filters of a step; `refs` and `state_refs` as in `Template`, over all sides."""

    every: tuple[Filter, ...]
    some: tuple[Filter, ...]
    refs: frozenset[str]
    state_refs: frozenset[str]
    kv_keys: frozenset[tuple[Any, ...]]

    def passes(self, scope: Scope) -> bool:
        """Whether every `and` filter passes and, if there are `or` filters, one of those (flow8 section 6).

        Raises ExpressionError (a bad pattern is one, too) and NeedsValue.
        """
        if not all(each.passes(scope) for each in self.every):
            return False
        return not self.some or any(each.passes(scope) for each in self.some)


def compile_filters(filters: list[dict[str, Any]]) -> Filters:
    """The filters of a step.

    Raises FilterError for a definition that no one could run (an answer of 400) and ExpressionError for a side
    whose expression does not compile.
    """
    if not isinstance(filters, list):
        raise FilterError("filters are a list", index=0, field="")
    if len(filters) > FILTERS_MAX:
        raise FilterError(f"a step has at most {FILTERS_MAX} filters", index=FILTERS_MAX, field="")
    modes: dict[str, list[Filter]] = {"and": [], "or": []}
    for index, definition in enumerate(filters):
        if not isinstance(definition, dict):
            raise FilterError("a filter is an object", index=index, field="")
        mode = _choice(definition, "mode", _MODES, index) or "and"
        modes[mode].append(_filter(definition, index))
    sides = [side for each in (*modes["and"], *modes["or"]) for side in (each.left, each.right)]
    return Filters(
        every=tuple(modes["and"]),
        some=tuple(modes["or"]),
        refs=frozenset[str]().union(*[side.refs for side in sides]),
        state_refs=frozenset[str]().union(*[side.state_refs for side in sides]),
        kv_keys=frozenset[tuple[Any, ...]]().union(*[side.kv_keys for side in sides]),
    )


def _filter(definition: dict[str, Any], index: int) -> Filter:
    name = _choice(definition, "operator", _OPERATORS.keys(), index)
    if name is None:
        raise FilterError("an operator is missing", index=index, field="operator")
    cast = _choice(definition, "cast", _CASTS.keys(), index)
    path = f"filters[{index}]"
    # As parts of one value the sides know their place, which keeps their random draws and their errors apart.
    return Filter(
        left=_side(definition, "leftValue", path),
        right=_side(definition, "rightValue", path),
        compare=_comparison(name, cast),
        path=path,
    )


def _side(definition: dict[str, Any], field: str, path: str) -> Template:
    return compile_value(definition.get(field), path=f"{path}.{field}")


def _choice(definition: dict[str, Any], field: str, allowed: Any, index: int) -> str | None:
    value = definition.get(field)
    if value is None or value == "":
        return None
    if not isinstance(value, str) or value not in allowed:
        raise FilterError(f"is one of {', '.join(sorted(allowed))}", index=index, field=field)
    return value


def _comparison(name: str, cast: str | None) -> Compare:
    plain = _OPERATORS[name]
    if cast is None or name not in _TYPED | dict.fromkeys(_CONTAINMENT):
        return plain
    convert = _CASTS[cast]
    if name in _CONTAINMENT:
        return lambda left, right: plain(_cast_elements(left, convert), convert(right))
    typed = _TYPED[name]
    return lambda left, right: bool(typed(convert(left), convert(right)))


def _cast_elements(value: Any, convert: Callable[[Any], Any]) -> Any:
    """A list by its elements (those that do not fit cannot be equal), an object as it is, the rest as a whole."""
    if isinstance(value, dict):
        return value
    if not isinstance(value, list):
        return convert(value)
    return [cast for element in value for cast in _fitting(element, convert)]


def _fitting(element: Any, convert: Callable[[Any], Any]) -> list[Any]:
    try:
        return [convert(element)]
    except _CastFailed:
        return []
