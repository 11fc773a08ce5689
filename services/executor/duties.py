"""Doing what a play's state obliges to: see `play_duties` for what, and for when."""

from typing import assert_never

import structlog

from libs.common import ids
from libs.common.errors import NotFound
from libs.common.messages import play as m
from libs.common.subjects import PlayKey
from services.executor import play_duties as d
from services.executor.parts import Parts
from services.executor.plan import Plan
from services.executor.play import Play

log = structlog.get_logger(__name__)


class Duties:
    """The duties of one play, as one driver or one handler of a command does them; each once."""

    def __init__(self, parts: Parts, key: PlayKey, correlation_id: str) -> None:
        self._plays = parts.services.plays
        self._admissions = parts.admissions
        self._clock = parts.clock
        self._key = key
        self._correlation_id = correlation_id
        self._done: set[str] = set()

    async def perform(self, play: Play, plan: Plan | None) -> bool:
        """Send what this durable state obliges to and was not sent yet; tell whether a child was started.

        Waits as long as the log does not answer, as a commit does.
        """
        if not d.has_duties(play):
            return False
        started = False
        for id, duty in d.duties(play, plan, play_id=self._key.play_id).items():
            if id not in self._done:
                await self._do(duty, play)
                self._done.add(id)
                started = started or isinstance(duty, d.StartChild)
        return started

    def owes_a_start(self, play: Play) -> bool:
        """Tell whether a play that a step waits for was not started here yet."""
        return any(
            child.state is None and not child.abandoned and d.start_id(child_id) not in self._done
            for child_id, child in play.children.items()
        )

    async def _do(self, duty: d.Duty, play: Play) -> None:
        match duty:
            case d.StartChild():
                lanes = d.lanes_above(play)
                parent = m.Parent(flow_id=self._key.flow_id, play_id=self._key.play_id, lanes=lanes)
                start = d.start_of(duty, play, parent, self._clock.now())
                await self._plays.start(self._child(duty.child), start, correlation_id=self._correlation_id)
            case d.CancelChild():
                cancel = m.CancelPlay(at=self._clock.now(), by="parent")
                id = f"cancel-{duty.child.play_id}"
                await self._plays.send(
                    self._child(duty.child), "cancel", cancel, id=id, correlation_id=self._correlation_id
                )
            case d.TellParent():
                await self._tell(duty)
            case d.StartErrorFlow():
                await self._start_error_flow(duty, by=play.by)
            case d.FreeSlots():
                await self._admissions.free(self._key, duty.lanes, duty.retry)
            case d.LookInLine():
                await self._admissions.look(self._key, duty.lanes, duty.retry)
            case _:
                assert_never(duty)

    def _child(self, child: m.ChildPlay) -> PlayKey:
        return self._plays.key(self._key.company_id, child.flow_id, child.play_id)

    async def _tell(self, duty: d.TellParent) -> None:
        ended = m.ChildEnded(
            at=self._clock.now(),
            child_play_id=self._key.play_id,
            state=duty.state,
            out=duty.out,
            error=duty.error,
        )
        parent = self._plays.key(self._key.company_id, duty.parent.flow_id, duty.parent.play_id)
        id = f"ended-{self._key.play_id}"
        await self._plays.send(parent, "child", ended, id=id, correlation_id=self._correlation_id)

    async def _start_error_flow(self, duty: d.StartErrorFlow, *, by: str) -> None:
        try:
            flow, definition = await self._plays.find_flow(self._key.company_id, duty.flow)
        except NotFound as error:
            log.warning("error_flow_ignored", play=self._key.play_id, flow=duty.flow, reason=error.message)
            return
        if not flow.enabled or flow.id == self._key.flow_id:
            reason = "it is the flow that failed" if flow.enabled else "it is disabled"
            log.warning("error_flow_ignored", play=self._key.play_id, flow=duty.flow, reason=reason)
            return
        start = m.StartPlay(
            at=self._clock.now(),
            definition=definition,
            flow_version=flow.version,
            args=duty.args,
            trigger="error",
            by=by,
            seed=ids.derived_id("seed", duty.play_id),
            parent_play_id=self._key.play_id,
            depth=duty.depth,
        )
        key = self._plays.key(self._key.company_id, flow.id, duty.play_id)
        await self._plays.start(key, start, correlation_id=self._correlation_id)
