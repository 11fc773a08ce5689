"""Flows by seed, and the modules that they call: every run of an effect is written down in the world."""

import asyncio
from random import Random
from typing import Any, ClassVar

from msgspec import Struct

from libs.common.messages.approval import Approval
from libs.common.messages.flow import Execution, Flow, Layer, Retry
from services.executor.modules.contract import (
    EffectModule,
    Module,
    ModuleFailed,
    ModuleSkipped,
    PureModule,
    Services,
    Step,
)
from services.executor.modules.control import Aggregator, Delay, Iterator
from services.executor.modules.kv import KvAppend, KvIncrement
from services.executor.modules.registry import Registry
from services.executor.modules.subflow import Subflow
from tests.simulation.clockwork import EPOCH, PROCESS
from tests.simulation.items import GATHERS

# Of what kinds of steps a flow is made.
THEMES = {
    "mixed": ("note", "note", "note", "touch", "touch", "touch", "slow", "delay", "flaky", "hangs"),
    "waits": ("delay", "delay", "flaky", "note"),
    "effects": ("touch", "touch", "touch", "note"),
    "long": ("slow", "touch", "touch", "hangs for ever"),
    "race": ("second", "second", "approved"),
    "gates": ("gate",),
    "operated": ("touch", "flaky", "fails", "approved", "ruled", "ruled", "delay"),
    "two waits": ("long delay",),
    "loops": ("note", "touch", "touch", "flaky", "delay", "approved", "hangs"),
}
COMPANY = "c0"
FLOW = "f0"


class NoteArgs(Struct, frozen=True, kw_only=True):
    """Args of `note`."""

    value: Any = None
    skip: bool = False


class Note(PureModule[NoteArgs]):
    """Says what it is told."""

    app_id = "note"
    docs = "Says what it is told."
    Args = NoteArgs
    args_example: ClassVar[dict[str, Any]] = {}
    out_example: ClassVar[dict[str, Any]] = {"value": None}

    def evaluate(self, args: NoteArgs, step: Step) -> dict[str, Any]:
        if args.skip:
            raise ModuleSkipped
        return {"value": args.value, "ref": step.ref}


class TouchArgs(Struct, frozen=True, kw_only=True):
    """Args of `touch`: how long it takes, how many attempts fail, whether it never ends, what it has read."""

    ms: int = 0
    fails: int = 0
    hangs: bool = False
    kills: bool = False
    seen: Any = None


class Touch(EffectModule[TouchArgs]):
    """Touches the world, which remembers it."""

    app_id = "touch"
    docs = "Touches the world."
    Args = TouchArgs
    args_example: ClassVar[dict[str, Any]] = {}
    out_example: ClassVar[dict[str, Any]] = {"attempt": 1}

    async def run(self, args: TouchArgs, step: Step, services: Services) -> dict[str, Any]:
        del services
        process = PROCESS.get()
        assert process is not None
        run = process.world.effects.begin(step, seen=args.seen)
        if args.kills:
            process.trip_after(1, process.world.crash)
        if args.hangs or args.kills:
            await asyncio.Event().wait()
        await asyncio.sleep(args.ms / 1000)
        process.world.effects.end(run)
        if step.attempt <= args.fails:
            raise ModuleFailed(f"attempt {step.attempt} was to fail with {args.seen}")
        return {"attempt": step.attempt, "ms": args.ms}


class TellArgs(Struct, frozen=True, kw_only=True):
    """Args of `tell`: what it has read, and how many attempts fail."""

    seen: Any = None
    fails: int = 0


class Tell(PureModule[TellArgs]):
    """Says what it has read, also when it fails."""

    app_id = "tell"
    docs = "Says what it has read."
    Args = TellArgs
    args_example: ClassVar[dict[str, Any]] = {}
    out_example: ClassVar[dict[str, Any]] = {"saw": "1"}

    def evaluate(self, args: TellArgs, step: Step) -> dict[str, Any]:
        if step.attempt <= args.fails:
            raise ModuleFailed(f"I saw {args.seen}")
        return {"saw": f"{args.seen}"}


def registry(*, entries: bool = False) -> Registry:
    """Return the modules of the simulated executors, with `entries` those that read and write of KV."""
    more: list[type[Module[Any]]] = [Tell, KvIncrement, KvAppend] if entries else []
    return Registry([Note, Touch, Delay, Iterator, Aggregator, Subflow, *more])


def a_flow(random: Random, theme: str, *, flow_id: str = FLOW) -> Flow:
    """Return a flow of one to five groups with what a play can go through: all of its waits, retries, failures."""
    if theme == "loops":
        return _flow(flow_id, _loop_layers(random, flow_id), random.choice((0, 0, 0, 0, 40)))
    layers: list[Layer] = []
    kinds = THEMES[theme]
    sizes = {"race": (3, 4), "gates": (1,), "two waits": (1,)}.get(theme, (1, 1, 1, 2, 3))
    for index in range(1 if theme == "gates" else random.randint(1, 5)):
        for _ in range(random.choice(sizes)):
            layers.append(_a_layer(random, flow_id, index, len(layers), random.choice(kinds)))
    return _flow(flow_id, layers, random.choice((0, 0, 0, 0, 25)))


def _rules(random: Random) -> Approval:
    return Approval(
        count=random.choice((1, 1, 2, 3)),
        timeout=random.choice((0, 1, 3, 8, 20)),
        on_timeout=random.choice(("approve", "decline", "escalate")),
        remind_every_seconds=random.choice((0, 0, 5)),
    )


def _loop_layers(random: Random, flow_id: str) -> list[Layer]:
    """Return a loop of one to three steps, maybe with another loop in it, each gathered, and a step after it."""
    kinds = THEMES["loops"]
    items = list(range(random.choice((0, 1, 2, 3, 5, 8))))
    layers = [_iterator(random, flow_id, "it", 0, items)]
    for number in range(random.choice((1, 1, 2, 3))):
        index = 1 + number // random.choice((1, 2))
        layers.append(_a_layer(random, flow_id, index, number, random.choice(kinds)))
    end = layers[-1].index + 1
    if random.random() < 0.4:
        layers.append(_iterator(random, flow_id, "inner", end, items[:3]))
        layers.append(_a_layer(random, flow_id, end + 1, len(layers), random.choice(("note", "touch"))))
        layers.append(_aggregator(flow_id, layers[-1].ref, end + 2))
        end += 3
    layers.append(_aggregator(flow_id, "s0", end))
    layers.append(_a_layer(random, flow_id, end + 1, 9, "note"))
    return layers


def _iterator(random: Random, flow_id: str, ref: str, index: int, items: list[int]) -> Layer:
    args = {"items": items, "batchSize": random.choice((1, 2, 3))}
    return Layer(id=ref, flow_id=flow_id, name=ref, ref=ref, index=index, app_id="iterator", args=args)


def _aggregator(flow_id: str, source: str, index: int) -> Layer:
    ref = f"{GATHERS}{source}"
    args = {"sourceRef": source}
    return Layer(id=ref, flow_id=flow_id, name=ref, ref=ref, index=index, app_id="aggregator", args=args)


def _flow(flow_id: str, layers: list[Layer], timeout: int) -> Flow:
    return Flow(
        id=flow_id,
        company_id=COMPANY,
        permanent_id=flow_id,
        name=flow_id,
        enabled=True,
        category="",
        group_id=None,
        kv_inherit="true",
        kv_conflict="child",
        execution=Execution(timeout=timeout),
        version=1,
        created_at=EPOCH,
        updated_at=EPOCH,
        layers=tuple(layers),
    )


def _a_layer(random: Random, flow_id: str, index: int, number: int, kind: str) -> Layer:  # noqa: C901, PLR0912 - a table
    fields: dict[str, Any] = {"app_id": "touch"}
    match kind:
        case "note":
            fields = {
                "app_id": "note",
                "args": {
                    "value": "{{ $prev.args.n }} {{ $prev.it.item }} {{ $prev.inner.item }}",
                    "skip": random.random() < 0.1,
                },
            }
        case "touch":
            fields["args"] = {"ms": random.choice((0, 1, 5, 80, 400))}
        case "slow":
            fields["args"] = {"ms": random.choice((4_000, 12_000, 20_000))}
        case "delay":
            fields = {"app_id": "delay", "args": {"ms": random.choice((20, 1_500, 4_000, 12_000))}}
        case "flaky":
            retry = Retry(
                count=2,
                delay_ms=random.choice((0, 100, 3_000)),
                backoff_multiplier=2.0,
                jitter=random.random() < 0.5,
            )
            fields |= {"args": {"ms": 10, "fails": random.choice((1, 2, 3))}, "retry": retry}
        case "long delay":
            fields = {"app_id": "delay", "args": {"ms": random.choice((3_000, 6_000, 12_000))}}
        case "second":
            fields["args"] = {"ms": random.choice((400, 900, 1_700, 2_500))}
        case "approved":
            fields |= {"app_id": "note", "needs_approval": True}
        case "ruled":
            fields |= {"needs_approval": True, "approval": _rules(random)}
        case "fails":
            fields["args"] = {"ms": 10, "fails": random.choice((1, 9))}
        case "gate":
            fields |= {"args": {"hangs": True}, "timeout": 300, "needs_approval": True}
        case "hangs for ever":
            fields |= {"args": {"hangs": True}, "timeout": 300}
        case "hangs":
            retry = Retry(count=random.choice((0, 1)))
            fields |= {"args": {"hangs": True}, "timeout": random.choice((1, 4)), "retry": retry}
            fields["on_error"] = random.choice(("continue", "skip", "fail"))
    if random.random() < 0.15:
        fields["needs_approval"] = True
    if random.random() < 0.08:
        fields["defer_after_ms"] = random.choice((100, 5_000))
    ref = f"s{number}"
    if number and random.random() < 0.15:
        asked = f"s{random.randrange(number)}"
        fields["filters"] = (
            {
                "leftValue": f"{{{{ $prev.{asked}.state }}}}",
                "operator": "eq",
                "rightValue": random.choice(("FAIL", "DONE")),
            },
        )
    return Layer(id=f"l{number}", flow_id=flow_id, name=ref, ref=ref, index=index, **fields)
