"""A flow, compiled once per version: its steps in order, with their expressions and filters ready to run."""

from collections.abc import Mapping
from typing import Any

import msgspec

from libs.common.messages.flow import Flow, Layer, Retry
from libs.common.messages.play import run_name
from libs.expressions import ExpressionError, Template, compile_module_args
from libs.expressions.filters import FilterError, Filters, compile_filters
from services.executor.loops import Place, places

TIMEOUT_S_DEFAULT = 300
JITTER_LOW = 0.8
JITTER_HIGH = 1.2
RETRY_DELAY_MS_MAX = 7 * 24 * 3600 * 1000
_EXPONENT_MAX = 64


class Traits(msgspec.Struct, frozen=True):
    """What planning needs to know of a module."""

    pure: bool
    raw_args: frozenset[str]
    isolated: bool = False


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One layer, ready to run. `order` is its place in the flow; `handles` the refs whose failure it looks at (Q9).

    `broken` says why the layer can never run: an expression or filter that does not parse, an unknown module.
    In a loop `iteration` says for which item; `place` is where the step stands among the loops of the flow. By its
    `name` this run of the step is told from all others of its play.
    """

    layer: Layer
    ref: str
    name: str
    order: int
    group: int
    args: Template | None
    filters: Filters | None
    handles: frozenset[str]
    pure: bool
    isolated: bool = False
    broken: str | None = None
    broken_code: str = "EXPRESSION_ERROR"
    place: Place = Place()
    iteration: tuple[int, ...] = ()
    # Whether anything stands between this step's turn and its args: a delay, filters, an approval.
    gated: bool = False

    def at(self, iteration: tuple[int, ...]) -> "Step":
        """Return this step for one item of its loops."""
        if not iteration:
            return self
        return msgspec.structs.replace(self, iteration=iteration, name=run_name(self.ref, iteration))

    @property
    def timeout_s(self) -> float:
        """Return how long one attempt may take, in seconds (spec flow8 section 10)."""
        return self.layer.timeout or TIMEOUT_S_DEFAULT


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """A flow's steps in groups that run one after the other; inside a group all run in parallel."""

    flow: Flow
    definition: int
    groups: tuple[tuple[Step, ...], ...]
    steps: dict[str, Step]
    app_ids: frozenset[str]

    def isolated(self) -> "Plan":
        """Return this plan with the modules that can run so as effects: each in a process of its own."""
        groups = tuple(tuple(map(_isolated, group)) for group in self.groups)
        steps = {step.ref: step for group in groups for step in group}
        return msgspec.structs.replace(self, groups=groups, steps=steps)


def compile_plan(flow: Flow, *, definition: int, modules: Mapping[str, Traits]) -> Plan:
    """Compile a stored definition. Never fails: a layer that cannot run is marked and fails when it is reached."""
    indexes = sorted({layer.index for layer in flow.layers})
    layers = [[layer for layer in flow.layers if layer.index == index] for index in indexes]
    placed = places(layers)
    groups: list[tuple[Step, ...]] = []
    order = 0
    for number, group in enumerate(layers):
        numbered = enumerate(group, start=order)
        groups.append(
            tuple(
                _compile_step(layer, place, number, modules.get(layer.app_id), placed[layer.ref])
                for place, layer in numbered
            )
        )
        order += len(group)
    steps = {step.ref: step for group in groups for step in group}
    app_ids = frozenset(layer.app_id for layer in flow.layers)
    return Plan(flow=flow, definition=definition, groups=tuple(groups), steps=steps, app_ids=app_ids)


def _compile_step(layer: Layer, order: int, group: int, traits: Traits | None, place: Place) -> Step:
    parts: dict[str, Any] = {
        "layer": layer,
        "ref": layer.ref,
        "name": run_name(layer.ref, ()),
        "order": order,
        "group": group,
        "place": place,
    }
    nothing: dict[str, Any] = {"args": None, "filters": None, "handles": frozenset(), "pure": True}
    if traits is None:
        broken = f"there is no module {layer.app_id!r} on this executor"
        return Step(**parts, **nothing, broken=broken, broken_code="MODULE_ERROR")
    try:
        filters = compile_filters(list(layer.filters)) if layer.filters else None
        args = compile_module_args(layer.args, raw=traits.raw_args)
    except (ExpressionError, FilterError) as error:
        return Step(**parts, **nothing, broken=str(error))
    handles = filters.state_refs if filters is not None else frozenset()
    if place.broken is not None:
        parts |= {"broken": place.broken, "broken_code": "MODULE_ERROR"}
    gated = bool(layer.defer_after_ms) or layer.needs_approval or filters is not None
    return Step(
        **parts,
        args=args,
        filters=filters,
        handles=handles,
        pure=traits.pure,
        isolated=traits.isolated,
        gated=gated,
    )


def _isolated(step: Step) -> Step:
    return msgspec.structs.replace(step, pure=False) if step.isolated and step.broken is None else step


def retry_delay_ms(retry: Retry, *, attempt: int, chance: float) -> int:
    """Return the wait after the `attempt`-th failure, in milliseconds (spec flow8 section 10).

    `chance` in [0, 1) spreads the wait over 0.8 to 1.2 of itself when jitter is asked for.
    """
    try:
        delay = retry.delay_ms * retry.backoff_multiplier ** min(attempt - 1, _EXPONENT_MAX)
    except OverflowError:
        delay = RETRY_DELAY_MS_MAX if retry.delay_ms else 0
    if retry.jitter:
        delay *= JITTER_LOW + (JITTER_HIGH - JITTER_LOW) * chance
    return int(min(delay, retry.max_delay_ms or RETRY_DELAY_MS_MAX, RETRY_DELAY_MS_MAX))
