"""Lists: keep, change, order, and drop what repeats (spec flow8 section 17.2)."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from libs.expressions import OUTPUT_BYTES_MAX, number_of, truthy
from libs.expressions.values import value_at
from services.executor.modules.contract import Module, ModuleFailed, PureModule, Step
from services.executor.modules.language import each, text_of

Items = Annotated[list[Any], Meta(description="The list.")]
By = Annotated[str, Meta(description="Path of the field that counts (`customer.name`); empty: the element.")]


class ArrayFilterArgs(Struct, frozen=True, kw_only=True):
    """Args of `array-filter`."""

    items: Items
    condition: Annotated[Any, Meta(description="An expression; `.` is the element, `.name` a field of it.")]


class ArrayFilter(PureModule[ArrayFilterArgs]):
    """The elements that pass."""

    app_id = "array-filter"
    isolated = True
    docs = "Keeps the elements for which the condition is true, by the rule of `router`."
    Args = ArrayFilterArgs
    shown_args = frozenset({"items"})
    args_example = {
        "items": [{"id": 1, "amount": 50}, {"id": 2, "amount": 150}],
        "condition": "{{ gt .amount 100 }}",
    }
    out_example = {"items": [{"id": 2, "amount": 150}], "count": 1}
    raw_args = frozenset({"condition"})

    def evaluate(self, args: ArrayFilterArgs, step: Step) -> dict[str, Any]:
        """Return the elements kept, in order. Raises ModuleFailed (EXPRESSION_ERROR) for a bad condition."""
        verdicts = each(args.condition, args.items, step)
        return _listed([item for item, verdict in zip(args.items, verdicts, strict=True) if truthy(verdict)])


class ArrayMapArgs(Struct, frozen=True, kw_only=True):
    """Args of `array-map`."""

    items: Items
    expression: Annotated[
        Any, Meta(description="An expression, or an object or list of them; `.` is the element.")
    ]


class ArrayMap(PureModule[ArrayMapArgs]):
    """Each element made anew."""

    app_id = "array-map"
    isolated = True
    docs = "Makes a new list of what the expression gives for each element."
    Args = ArrayMapArgs
    shown_args = frozenset({"items", "expression"})
    args_example = {
        "items": [{"first": "Ada", "born": 1815}, {"first": "Alan", "born": 1912}],
        "expression": {"name": "{{ upper .first }}", "century": "{{ round (add (div .born 100) 0.5) }}"},
    }
    out_example = {"items": [{"name": "ADA", "century": 19}, {"name": "ALAN", "century": 20}], "count": 2}
    raw_args = frozenset({"expression"})

    def evaluate(self, args: ArrayMapArgs, step: Step) -> dict[str, Any]:
        """Return the new elements. Raises ModuleFailed when they are too large together."""
        made: list[Any] = []
        room = OUTPUT_BYTES_MAX
        for value in each(args.expression, args.items, step):
            room -= _size(value)
            if room < 0:
                raise ModuleFailed(
                    f"array-map: the result is larger than {OUTPUT_BYTES_MAX:,} bytes", final=True
                )
            made.append(value)
        return _listed(made)


class ArraySortArgs(Struct, frozen=True, kw_only=True):
    """Args of `array-sort`."""

    items: Items
    by: By = ""
    order: Annotated[Literal["asc", "desc"], Meta(description="Rising or falling.")] = "asc"


class ArraySort(PureModule[ArraySortArgs]):
    """The elements in order."""

    app_id = "array-sort"
    isolated = True
    docs = (
        "Sorts: numbers (and numeric text) by value, before text, by its characters; what has no value comes last. "
        "Equal elements keep their order."
    )
    Args = ArraySortArgs
    shown_args = frozenset({"items"})
    args_example = {"items": [{"n": 10}, {"n": 9}, {"n": 30}], "by": "n", "order": "desc"}
    out_example = {"items": [{"n": 30}, {"n": 10}, {"n": 9}], "count": 3}

    def evaluate(self, args: ArraySortArgs, step: Step) -> dict[str, Any]:
        """Return the sorted list."""
        keyed = [(value_at(item, args.by), item) for item in args.items]
        valued = [(_rank(value), item) for value, item in keyed if value is not None]
        valued.sort(key=lambda pair: pair[0], reverse=args.order == "desc")
        return _listed([*(item for _, item in valued), *(item for value, item in keyed if value is None)])


class ArrayUniqueArgs(Struct, frozen=True, kw_only=True):
    """Args of `array-unique`."""

    items: Items
    by: By = ""


class ArrayUnique(PureModule[ArrayUniqueArgs]):
    """Each element once."""

    app_id = "array-unique"
    isolated = True
    docs = "Keeps the first of equal elements; equal are values of the same type and content, 1 and 1.0 included."
    Args = ArrayUniqueArgs
    shown_args = frozenset({"items"})
    args_example = {"items": ["a", "b", "a", 1, 1.0, "1"]}
    out_example = {"items": ["a", "b", 1, "1"], "count": 4}

    def evaluate(self, args: ArrayUniqueArgs, step: Step) -> dict[str, Any]:
        """Return the list without repeats."""
        firsts: dict[bytes, Any] = {}
        for item in args.items:
            firsts.setdefault(_identity(value_at(item, args.by)), item)
        return _listed(list(firsts.values()))


def _listed(items: list[Any]) -> dict[str, Any]:
    return {"items": items, "count": len(items)}


def _rank(value: Any) -> tuple[int, Any]:
    number = number_of(value)
    return (0, number) if number is not None else (1, text_of(value))


def _identity(value: Any) -> bytes:
    return msgspec.json.encode(_plain(value), order="sorted")


def _plain(value: Any) -> Any:
    match value:
        case float() if value.is_integer():
            return int(value)
        case list():
            return [_plain(item) for item in value]
        case dict():
            return {name: _plain(item) for name, item in value.items()}
        case _:
            return value


def _size(value: Any) -> int:
    return len(value) if isinstance(value, str) else len(msgspec.json.encode(value))


MODULES: tuple[type[Module[Any]], ...] = (ArrayFilter, ArrayMap, ArraySort, ArrayUnique)
