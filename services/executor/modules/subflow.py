"""Flows that call flows (spec flow8 section 17.1)."""

from typing import Annotated, Any

from msgspec import Meta, Struct, field

from libs.common import ids
from libs.common.errors import NotFound
from libs.common.messages.play import ChildPlay, StartPlay
from services.executor.modules.contract import ChildCall, EffectModule, Module, ModuleFailed, Services, Step

DEPTH_MAX = 10
TIMEOUT_S_DEFAULT = 300
TIMEOUT_S_MAX = 365 * 24 * 3600


class SubflowArgs(Struct, frozen=True, kw_only=True, rename="camel"):
    """Args of `subflow`."""

    flow_id: Annotated[str, Meta(description="The flow to run: its id or permanentId.")]
    args: Annotated[dict[str, Any], Meta(description="What it is started with.")] = {}
    async_: Annotated[bool, Meta(description="Go on at once, and do not wait for its end.")] = field(
        name="async", default=False
    )
    timeout: Annotated[
        float,
        Meta(
            gt=0,
            le=TIMEOUT_S_MAX,
            description="Seconds to wait; then the play is cancelled and the step fails.",
        ),
    ] = TIMEOUT_S_DEFAULT


class Subflow(EffectModule[SubflowArgs]):
    """A play of another flow."""

    app_id = "subflow"
    docs = (
        "Runs another flow of the company as a play of its own and waits for its end, without a thread or a timer that "
        "a restart could lose. `out` is the play's output, that of its last step that is DONE. When it fails, this "
        "step fails; when this play is cancelled, so is that one. With `async: true` the step is done at once and "
        f"`state` is RUN. Flows may call each other {DEPTH_MAX} deep."
    )
    Args = SubflowArgs
    shown_args = frozenset({"flowId", "args"})
    args_example = {
        "flowId": "send-invoice",
        "args": {"customer": "{{ $prev.args.customer }}"},
        "timeout": 60,
    }
    out_example = {"state": "DONE", "playId": "65a1f0c2e4b0a1b2c3d4e5f6", "out": {"sent": True}}

    async def run(self, args: SubflowArgs, step: Step, services: Services) -> Any:
        """Say which play to wait for, or start one that nobody waits for."""
        if step.depth >= DEPTH_MAX:
            raise ModuleFailed(f"subflow: flows may call each other only {DEPTH_MAX} deep", final=True)
        try:
            flow, definition = await services.plays.find_flow(step.company_id, args.flow_id)
        except NotFound as error:
            raise ModuleFailed(f"subflow: {error.message}", code=error.code, final=True) from error
        if not flow.enabled:
            raise ModuleFailed(
                f"subflow: flow {args.flow_id!r} is disabled", code="FLOW_DISABLED", final=True
            )
        # The same on every try of this attempt: the play starts once, whoever runs the step.
        attempt = f"{step.attempt}.{step.retries}" if step.retries else str(step.attempt)
        play_id = ids.derived_id("child", step.idempotency_key, attempt)
        seed = ids.derived_id("seed", step.seed, attempt)
        if not args.async_:
            child = ChildPlay(
                play_id=play_id,
                flow_id=flow.id,
                definition=definition,
                flow_version=flow.version,
                seed=seed,
            )
            return ChildCall(child, args.args, args.timeout)
        start = StartPlay(
            at=step.now,
            definition=definition,
            flow_version=flow.version,
            args=args.args,
            trigger="subflow",
            by=step.started_by,
            seed=seed,
            parent_play_id=step.play_id,
            depth=step.depth + 1,
        )
        key = services.plays.key(step.company_id, flow.id, play_id)
        await services.plays.start(key, start, correlation_id=step.play_id)
        return {"state": "RUN", "playId": play_id, "out": None}


MODULES: tuple[type[Module[Any]], ...] = (Subflow,)
