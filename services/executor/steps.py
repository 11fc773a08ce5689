"""Running one step: its filters, its args, its module, and what came out of it."""

from collections import ChainMap
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Protocol, assert_never

import msgspec

from libs.common.errors import HeadraceError
from libs.common.messages import play as m
from libs.expressions import ExpressionError, NeedsValue, Scope
from services.executor import isolation
from services.executor.modules.contract import (
    ChildCall,
    EffectModule,
    Loop,
    ModuleFailed,
    ModuleSkipped,
    PureModule,
    Services,
    Wait,
)
from services.executor.modules.contract import Step as Call
from services.executor.modules.nesting import nests_too_deep
from services.executor.modules.registry import Registry, decode_args
from services.executor.plan import Plan, Step
from services.executor.play import LayerRun, Play, run_of
from services.executor.play_levels import open_items, views
from services.executor.play_outcomes import attempt_failed, completed, failure, iterating, waiting

# Items of all loops of a play that are under way together: each is held in memory.
OPEN_ITEMS_MAX = 1_000

# What a step may make of values that nest as deep as they may when they come from outside; an event, a snapshot and
# the args of a called flow put some levels of their own around it.
OUTPUT_NESTING_MAX = 256
# Of one arg of a module with effects. Who keeps a value puts it out again, some levels deeper: that must not fail once
# the value is kept.
ARG_NESTING_MAX = OUTPUT_NESTING_MAX - 8

# How long a step waits for KV entries that nobody answers for, before they are asked for again.
ASK_AGAIN_MIN = timedelta(seconds=3)
ASK_AGAIN_MAX = timedelta(seconds=60)


class Limits(Protocol):
    """What running a step needs of its executor."""

    @property
    def registry(self) -> Registry:
        """The modules this executor knows."""
        ...

    @property
    def services(self) -> Services:
        """What modules with effects work with."""
        ...

    @property
    def output_bytes_max(self) -> int:
        """The largest output a step may have, in bytes of JSON."""
        ...


class Done(msgspec.Struct, frozen=True):
    """The module ended well with this output, so many bytes as JSON."""

    out: Any
    bytes: int


class Skipped(msgspec.Struct, frozen=True):
    """The module chose to do nothing."""


class Failed(msgspec.Struct, frozen=True):
    """The attempt failed; a final failure is not tried again."""

    error: str
    code: str
    final: bool


class Waits(msgspec.Struct, frozen=True):
    """The step is done after this many milliseconds, with this output."""

    delay_ms: int
    out: Any


class Unread(msgspec.Struct, frozen=True):
    """The step cannot be evaluated yet: nobody answers for the KV entries that it reads."""

    kind: m.WaitKind


class Iterates(msgspec.Struct, frozen=True):
    """The iterator hands out these items, so many at once; they have so many bytes as JSON."""

    items: list[Any]
    batch_size: int
    bytes: int


class Calls(msgspec.Struct, frozen=True):
    """The step is done when this play has ended, or fails after so many seconds."""

    child: m.ChildPlay
    args: dict[str, Any]
    timeout_s: float


Outcome = Done | Skipped | Failed | Waits | Unread | Iterates | Calls


def scope_of(
    play: Play, plan: Plan, play_id: str, step: Step, now: datetime, *, kv: Mapping[Any, Any]
) -> Scope:
    """Return what this step's expressions see. Randomness derives from the play's seed and the step (D8)."""
    return Scope(
        prev=ChainMap(*views(play, step.iteration)) if step.iteration else play.prev,
        flow_id=plan.flow.id,
        play_id=play_id,
        company_id=plan.flow.company_id,
        now=now,
        seed=seed_of(play, step),
        kv=kv,
    )


def seed_of(play: Play, step: Step) -> str:
    """Return where the random choices of a step derive from, in a loop those of one item (D8)."""
    return f"{play.seed}:{step.name}"


def passes_filters(step: Step, scope: Scope) -> bool | Failed | NeedsValue:
    """Tell whether the step's filters let it run, or what to read first; a filter without a value fails the step."""
    if step.filters is None:
        return True
    try:
        return step.filters.passes(scope)
    except ExpressionError as error:
        return Failed(f"filter: {error}", "EXPRESSION_ERROR", final=True)
    except NeedsValue as needed:
        return needed


def evaluate_args(step: Step, scope: Scope) -> dict[str, Any] | Failed | NeedsValue:
    """Return the step's arguments with their expressions evaluated, or what to read first.

    What a module with effects could not put out again is refused before it does anything.
    """
    if step.args is None:
        return {}
    try:
        args: dict[str, Any] = step.args.evaluate(scope)
    except ExpressionError as error:
        return Failed(str(error), "EXPRESSION_ERROR", final=True)
    except NeedsValue as needed:
        return needed
    deep = None if step.pure or step.isolated else _deep_arg(args)
    if deep is not None:
        too_deep = f"{step.layer.app_id}: arg {deep}: nests more than {ARG_NESTING_MAX} deep"
        return Failed(too_deep, "MODULE_ERROR", final=True)
    return args


def _deep_arg(args: dict[str, Any]) -> str | None:
    return next((name for name, value in args.items() if nests_too_deep(value, ARG_NESTING_MAX)), None)


def evaluate(parts: Limits, step: Step, args: dict[str, Any], call: Call) -> Outcome:
    """Run a pure module here and now."""
    try:
        module = parts.registry.get(step.layer.app_id)
        if not isinstance(module, PureModule):
            return Failed(f"there is no pure module {step.layer.app_id!r}", "MODULE_ERROR", final=True)
        out = module.evaluate(decode_args(module, args), call)
    except Exception as error:  # noqa: BLE001 - a module's own mistake fails its step, never the executor
        return _outcome_of(error)
    if isinstance(out, dict):
        return _checked(out, parts.output_bytes_max)
    if isinstance(out, Wait):
        return _checked(out.out, parts.output_bytes_max, delay_ms=out.delay_ms)
    if isinstance(out, Loop):
        checked = _checked(out.items, parts.output_bytes_max)
        return Iterates(checked.out, out.batch_size, checked.bytes) if isinstance(checked, Done) else checked
    return _checked(out, parts.output_bytes_max)


async def run(parts: Limits, step: Step, args: dict[str, Any], call: Call) -> Outcome:
    """Run a module with effects to its end. Cancellation passes through; everything else becomes an outcome."""
    try:
        module = parts.registry.get(step.layer.app_id)
        if step.isolated and isinstance(module, PureModule):
            return _checked(await isolation.evaluate(_task(parts, step, args, call)), parts.output_bytes_max)
        if not isinstance(module, EffectModule):
            return Failed(
                f"there is no module {step.layer.app_id!r} with effects", "MODULE_ERROR", final=True
            )
        out = await module.run(decode_args(module, args), call, parts.services)
    except Exception as error:  # noqa: BLE001 - as above
        return _outcome_of(error)
    if isinstance(out, ChildCall):
        return _called(out, parts.output_bytes_max)
    return _checked(out, parts.output_bytes_max)


def _task(parts: Limits, step: Step, args: dict[str, Any], call: Call) -> isolation.Task:
    limit = parts.output_bytes_max
    return isolation.Task(app_id=step.layer.app_id, args=args, step=call, output_bytes_max=limit)


def _called(call: ChildCall, bytes_max: int) -> Outcome:
    args = _checked(call.args, bytes_max)
    return Calls(call.child, args.out, call.timeout_s) if isinstance(args, Done) else args


def _outcome_of(error: Exception) -> Outcome:
    match error:
        case ModuleSkipped():
            return Skipped()
        case ModuleFailed():
            return Failed(error.message, error.code, final=error.final)
        case ExpressionError():
            return Failed(str(error), "EXPRESSION_ERROR", final=True)
        case HeadraceError():
            return Failed(error.message, "MODULE_ERROR", final=False)
        case _:
            return Failed(f"{type(error).__name__}: {error}", "MODULE_ERROR", final=False)


def _checked(out: Any, bytes_max: int, *, delay_ms: int | None = None) -> Outcome:
    # What later steps see is what the log will give back: the round trip makes both the same value.
    try:
        data = msgspec.json.encode(out)
        value = msgspec.json.decode(data) if len(data) <= bytes_max else None
    except (TypeError, ValueError, RecursionError, msgspec.MsgspecError) as error:
        return Failed(f"the output is not JSON: {error}", "MODULE_ERROR", final=True)
    if len(data) > bytes_max:
        too_large = f"the output has {len(data)} bytes, more than the {bytes_max} a step may have"
        return Failed(too_large, "OUTPUT_TOO_LARGE", final=True)
    if _may_nest_too_deep(data) and nests_too_deep(value, OUTPUT_NESTING_MAX):
        too_deep = f"the output nests more than {OUTPUT_NESTING_MAX} deep"
        return Failed(too_deep, "OUTPUT_TOO_LARGE", final=True)
    return Done(value, len(data)) if delay_ms is None else Waits(delay_ms, value)


def _may_nest_too_deep(data: bytes) -> bool:
    # Counting is much cheaper than looking, and few outputs have so many of them at all.
    return len(data) > 2 * OUTPUT_NESTING_MAX and data.count(b"[") + data.count(b"{") > OUTPUT_NESTING_MAX


def event_of(outcome: Outcome, step: Step, play: Play, now: datetime) -> m.PlayEvent:
    """Return the event that says how an attempt of this step ended."""
    run = run_of(play, step.ref, step.iteration)
    match outcome:
        case Done():
            return completed(step, run, now, out=outcome.out)
        case Skipped():
            return completed(step, run, now, out=None, state="SKIP")
        case Waits():
            until = now + timedelta(milliseconds=outcome.delay_ms)
            return waiting(step, now, "delay", until=until, out=outcome.out)
        case Iterates():
            return _iterating(outcome, step, play, now)
        case Failed():
            return attempt_failed(
                play, step, now, error=outcome.error, code=outcome.code, final=outcome.final
            )
        case Unread():
            return waiting(step, now, outcome.kind, until=now + _until_asked_again(run, now))
        case Calls():
            until = now + timedelta(seconds=outcome.timeout_s)
            return waiting(step, now, "child", until=until, child=outcome.child, args=outcome.args)
        case _:
            assert_never(outcome)


def _until_asked_again(run: LayerRun | None, now: datetime) -> timedelta:
    # As long again as it has waited already: soon at first, and an outage of hours fills no log.
    waited = now - run.started_at if run is not None and run.started_at is not None else ASK_AGAIN_MIN
    return min(max(waited, ASK_AGAIN_MIN), ASK_AGAIN_MAX)


def _iterating(outcome: Iterates, step: Step, play: Play, now: datetime) -> m.PlayEvent:
    at_once = min(outcome.batch_size, len(outcome.items)) * open_items(play, step.iteration)
    if at_once > OPEN_ITEMS_MAX:
        run = run_of(play, step.ref, step.iteration)
        error = f"iterator: {at_once:,} items at once in nested loops, more than {OPEN_ITEMS_MAX:,}"
        return failure(step, run, now, error=error, code="MODULE_ERROR")
    return iterating(step, now, outcome.items, outcome.batch_size)
