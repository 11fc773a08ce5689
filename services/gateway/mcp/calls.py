"""A call of a tool: its arguments checked, its flows run, their result (spec flow8 section 14.3)."""

import asyncio
from typing import Any, NamedTuple

import structlog

from libs.common import ids, subjects
from libs.common.errors import HeadraceError, Invalid, NotFound, Refused, TooMany
from libs.common.messages import play as m
from libs.common.messages.channel import ChannelRoute
from services.gateway.mcp.arguments import ArgumentChecks
from services.gateway.mcp.news import News, Report
from services.gateway.parts import Parts
from services.gateway.principal import Principal
from services.gateway.starts import Begun, Outcome, Start

CALLS_PER_COMPANY_MAX = 256

log = structlog.get_logger(__name__)


class Answer(NamedTuple):
    """What a tool answers: a JSON value, and whether it is a failure."""

    value: Any
    failed: bool = False


class Calls:
    """Runs the flows behind tools."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._checks = ArgumentChecks()
        self._running: dict[str, int] = {}
        self._cancels: set[asyncio.Task[None]] = set()
        self._stopping = False

    async def stop(self) -> None:
        """From now on a call that ends early leaves its plays alone. Waits for the cancels under way."""
        self._stopping = True
        await asyncio.gather(*self._cancels)

    async def call(
        self, caller: Principal, tool: ChannelRoute, args: dict[str, Any], report: Report
    ) -> Answer:
        """Run a tool's flows and return their outcome, or that they still run when the route's time is over.

        What the caller can mend, or should know of, is an outcome that failed. A call that is cancelled cancels its
        plays. Raises Forbidden without the permission to run, Unavailable when the log does not answer.
        """
        caller.must("run")
        running = self._running.get(caller.company_id, 0)
        self._running[caller.company_id] = running + 1
        try:
            _check_room(running)
            self._checks.check(tool, args)
            return await self._run(caller, tool, args, report)
        except (Invalid, NotFound, Refused, TooMany) as error:
            return Answer({"error": error.code, "message": error.message}, failed=True)
        finally:
            self._running[caller.company_id] -= 1
            if not self._running[caller.company_id]:
                del self._running[caller.company_id]

    async def _run(
        self, caller: Principal, tool: ChannelRoute, args: dict[str, Any], report: Report
    ) -> Answer:
        starts = self._parts.starts
        # All of them, before the first of them starts.
        flows = [await starts.runnable(caller.company_id, flow_id) for flow_id in tool.target_flow_ids]
        wishes = [Start(caller.company_id, flow, args, "mcp", caller.user_id, ids.new_id()) for flow in flows]
        if tool.response_mode == "async":
            return _queued([(await starts.begin(wish, wait=False)).play_id for wish in wishes])
        news, tried, begun = News(), list[Start](), list[Begun]()
        reporting = asyncio.create_task(news.tell(report))
        try:
            for wish in wishes:
                tried.append(wish)
                begun.append(await starts.begin(wish, wait=True, until=news.of(wish.play_id)))
            ends = await asyncio.gather(*(play.outcome(tool.timeout_seconds) for play in begun))
            return _together(list(zip(begun, ends, strict=True)))
        except asyncio.CancelledError:
            self._cancel_soon(caller, tried)
            raise
        finally:
            reporting.cancel()
            for play in begun:
                play.close()

    def _cancel_soon(self, caller: Principal, tried: list[Start]) -> None:
        # A gateway that stops is no wish of the caller.
        if self._stopping:
            return
        for wish in tried:
            key = self._parts.plays.key(wish.company_id, wish.flow.id, wish.play_id)
            task = asyncio.create_task(self._cancel(caller, key), name=f"cancel {key.play_id}")
            self._cancels.add(task)
            task.add_done_callback(self._cancels.discard)

    async def _cancel(self, caller: Principal, key: subjects.PlayKey) -> None:
        command = m.CancelPlay(at=self._parts.clock.now(), by=caller.user_id)
        try:
            await self._parts.plays.order(key, "cancel", command, id=f"cancel-{ids.new_id()}")
        except HeadraceError as error:
            # Nobody is left to be told; the play goes on and ends by itself.
            log.warning("tool_call_not_cancelled", play=key.play_id, reason=error.message)


def _check_room(running: int) -> None:
    if running >= CALLS_PER_COMPANY_MAX:
        raise TooMany(f"{CALLS_PER_COMPANY_MAX} calls of tools run already")


def _queued(play_ids: list[str]) -> Answer:
    if len(play_ids) == 1:
        return Answer({"playId": play_ids[0], "status": "queued"})
    return Answer({"playIds": play_ids, "status": "queued"})


def _together(ends: list[tuple[Begun, Outcome]]) -> Answer:
    """Return the answer of one flow, or those of several side by side (Q21)."""
    answers = [_answer(play.play_id, end) for play, end in ends]
    if len(answers) == 1:
        return answers[0]
    value = [
        {"flowId": play.flow_id, "playId": play.play_id, "state": end.state, "out": answer.value}
        for (play, end), answer in zip(ends, answers, strict=True)
    ]
    return Answer(value, failed=any(answer.failed for answer in answers))


def _answer(play_id: str, end: Outcome) -> Answer:
    if end.state == "FAIL":
        return Answer({"error": end.error_code, "message": end.error, "playId": play_id}, failed=True)
    if end.ended:
        # FILTERED and SKIP have no output, as with HTTP channels.
        return Answer({} if end.out is None else end.out)
    if end.waits_for_somebody:
        return Answer({"playId": play_id, "status": "waiting"})
    message = f"play {play_id} has not ended in time; it goes on"
    status = "queued" if end.state == "DEFERRED" else "running"
    return Answer({"error": "TIMEOUT", "message": message, "playId": play_id, "status": status}, failed=True)
