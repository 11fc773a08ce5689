"""Control flow: choose a way, count, repeat, collect, wait (spec flow8 section 17.1, override 6)."""

from decimal import Decimal
from typing import Annotated, Any

from msgspec import Meta, Struct, field

from libs.expressions import truthy
from services.executor.modules.contract import Loop, Module, ModuleFailed, PureModule, Step, Wait

ITEMS_MAX = 100_000
BATCH_SIZE_MAX = 1_000
DELAY_MS_MAX = 365 * 24 * 3600 * 1000


class Route(Struct, frozen=True, kw_only=True):
    """One way out of a router."""

    condition: Annotated[Any, Meta(description='An expression, or `"true"` to catch everything.')]
    label: Annotated[str, Meta(description="What `route` says when this way is taken.")]


class RouterArgs(Struct, frozen=True, kw_only=True, rename="camel"):
    """Args of `router`."""

    routes: Annotated[list[Route], Meta(description="The ways, in order.")]


class Router(PureModule[RouterArgs]):
    """The first way whose condition is true."""

    app_id = "router"
    docs = (
        "Takes the first route whose condition is true; later steps filter on `$prev.<ref>.route`. False are `false`, "
        '`"false"`, `0`, `"0"`, null and whatever is empty. With no true condition `route` is the empty string.'
    )
    Args = RouterArgs
    args_example = {
        "routes": [
            {"condition": "{{ gt $prev.args.amount 1000 }}", "label": "large"},
            {"condition": "true", "label": "standard"},
        ]
    }
    out_example = {"route": "standard"}

    def shown(self, args: dict[str, Any]) -> dict[str, Any]:
        """Return the labels; conditions may compare with secrets."""
        routes = args.get("routes")
        if not isinstance(routes, list):
            return {"routes": routes}
        return {"routes": [route.get("label") if isinstance(route, dict) else route for route in routes]}

    def evaluate(self, args: RouterArgs, step: Step) -> dict[str, str]:
        """Return the label of the first true route."""
        return {"route": next((route.label for route in args.routes if truthy(route.condition)), "")}


class EnumerationArgs(Struct, frozen=True, kw_only=True):
    """Args of `enumeration`."""

    start: Annotated[int | float, Meta(description="The first number.")] = field(name="from")
    to: Annotated[int | float, Meta(description="The last number, included when a step reaches it.")]
    step: Annotated[int | float, Meta(description="The distance; negative to count down, never 0.")] = 1


class Enumeration(PureModule[EnumerationArgs]):
    """Numbers in a row."""

    app_id = "enumeration"
    docs = f"Lists the numbers from `from` to `to`, both included, at most {ITEMS_MAX:,}."
    Args = EnumerationArgs
    shown_args = frozenset({"from", "to", "step"})
    args_example = {"from": 1, "to": 10, "step": 3}
    out_example = {"items": [1, 4, 7, 10], "count": 4}

    def evaluate(self, args: EnumerationArgs, step: Step) -> dict[str, Any]:
        """Return the numbers, exact in decimal: 0, 0.1, 0.2, 0.3 and not 0.30000000000000004."""
        if args.step == 0:
            raise ModuleFailed("enumeration: step must not be 0", final=True)
        try:
            first, last, distance = (Decimal(str(number)) for number in (args.start, args.to, args.step))
            count = max(0, int((last - first) / distance) + 1) if (last - first) * distance >= 0 else 0
        except (ArithmeticError, ValueError) as error:
            raise ModuleFailed("enumeration: the numbers are too large", final=True) from error
        if count > ITEMS_MAX:
            raise ModuleFailed(f"enumeration: that is more than {ITEMS_MAX:,} items", final=True)
        items = [_json_number(first + index * distance) for index in range(count)]
        return {"items": items, "count": count}


class DelayArgs(Struct, frozen=True, kw_only=True):
    """Args of `delay`."""

    ms: Annotated[int, Meta(ge=0, le=DELAY_MS_MAX, description="Milliseconds to wait, at most 365 days.")]


class Delay(PureModule[DelayArgs]):
    """A pause."""

    app_id = "delay"
    docs = (
        "Waits. A longer wait parks the play on a durable timer: nothing runs, and a restart loses nothing."
    )
    Args = DelayArgs
    shown_args = frozenset({"ms"})
    args_example = {"ms": 1500}
    out_example = {"ms": 1500}

    def evaluate(self, args: DelayArgs, step: Step) -> Any:
        """Return a Wait, or at once when there is nothing to wait for."""
        out = {"ms": args.ms}
        return Wait(args.ms, out) if args.ms else out


class IteratorArgs(Struct, frozen=True, kw_only=True, rename="camel"):
    """Args of `iterator`."""

    items: Annotated[list[Any], Meta(description="The list; JSON text of a list will do.")]
    batch_size: Annotated[
        int, Meta(ge=1, le=BATCH_SIZE_MAX, description="How many items run at once; batches run in sequence.")
    ] = 1


class Iterator(PureModule[IteratorArgs]):
    """The same steps for every item of a list."""

    app_id = "iterator"
    docs = (
        "Runs the steps after it once for every item: all with a higher index, up to the first `aggregator` that "
        "collects from them, else to the end of the flow. They read `$prev.<ref>.item`, `.index` (from 0), `.total` "
        f"and `.isLast`. At most {ITEMS_MAX:,} items. `batchSize` items run at once, and the next batch begins when "
        "all of them have ended; when a step has failed no further batch begins. Put a `subflow` into the body to "
        "spread the items over executors."
    )
    Args = IteratorArgs
    shown_args = frozenset({"items"})
    args_example = {"items": ["a", "b", "c"], "batchSize": 2}
    out_example = {"item": "c", "index": 2, "total": 3, "isLast": True}

    def evaluate(self, args: IteratorArgs, step: Step) -> Loop:
        """Return the loop. Raises ModuleFailed above ITEMS_MAX."""
        if len(args.items) > ITEMS_MAX:
            text = f"iterator: {len(args.items):,} items are more than {ITEMS_MAX:,}"
            raise ModuleFailed(text, final=True)
        return Loop(args.items, args.batch_size)


class AggregatorArgs(Struct, frozen=True, kw_only=True, rename="camel"):
    """Args of `aggregator`."""

    source_ref: Annotated[str | list[str], Meta(description="The step to collect from, or a list of steps.")]
    field: Annotated[str, Meta(description="Path of the field to collect; absent: the whole output.")] = ""


class Aggregator(PureModule[AggregatorArgs]):
    """What a step put out in all items of a loop, or several steps side by side."""

    app_id = "aggregator"
    docs = (
        "Ends a loop and lists what the step `sourceRef` put out, in the order of the items; or what several steps "
        "put out, in the order of their refs. Only runs that are DONE count. Both args stand as they are, without "
        "expressions: which steps a loop repeats must be known before it runs."
    )
    Args = AggregatorArgs
    args_example = {"sourceRef": "price", "field": "amount"}
    out_example = {"items": [12, 30], "count": 2}
    raw_args = frozenset({"sourceRef", "field"})

    def evaluate(self, args: AggregatorArgs, step: Step) -> dict[str, Any]:
        """Return what the engine has collected."""
        return {"items": list(step.collected), "count": len(step.collected)}


def _json_number(number: Decimal) -> int | float:
    return int(number) if number == number.to_integral_value() else float(number)


MODULES: tuple[type[Module[Any]], ...] = (Router, Enumeration, Iterator, Aggregator, Delay)
