"""Runs the flows behind a route and says what came of them, to HTTP callers and sockets (spec flow8 section 14)."""

import asyncio
from typing import Any, NamedTuple

from libs.common import ids
from libs.common.messages.channel import Channel, ChannelRoute
from services.gateway.starts import Begun, Outcome, Start, Starts


class Ran(NamedTuple):
    """The plays of one call, in the order of the route's flows; `outcomes` is empty when nobody waited."""

    plays: tuple[Begun, ...]
    outcomes: tuple[Outcome, ...] = ()

    @property
    def play_ids(self) -> tuple[str, ...]:
        """Return the ids of the plays."""
        return tuple(play.play_id for play in self.plays)


class Answer(NamedTuple):
    """What a caller is told, and under which status."""

    status: int
    body: Any


class Invocation:
    """Starts a route's flows, all of them or, when one may not run, none."""

    def __init__(self, starts: Starts) -> None:
        self._starts = starts

    async def run(self, channel: Channel, route: ChannelRoute, args: dict[str, Any], *, delivery: str) -> Ran:
        """Start the flows, and wait for their outcomes when the route is synchronous.

        The same `delivery` again is about the plays that it started. Raises NotFound for a flow that is deleted,
        Refused (FLOW_DISABLED), Unavailable.
        """
        flows = [
            await self._starts.runnable(channel.company_id, flow_id) for flow_id in route.target_flow_ids
        ]
        wait = route.response_mode == "sync"
        plays: list[Begun] = []
        try:
            for flow in flows:
                play_id = ids.derived_id(channel.id, route.id, flow.id, delivery) if delivery else ""
                start = Start(channel.company_id, flow, args, "channel", play_id=play_id)
                plays.append(await self._starts.begin(start, wait=wait))
            if not wait:
                return Ran(tuple(plays))
            outcomes = await asyncio.gather(*(play.outcome(route.timeout_seconds) for play in plays))
        finally:
            for play in plays:
                play.close()
        return Ran(tuple(plays), tuple(outcomes))


def http_answer(ran: Ran) -> Answer:
    """Return the answer of an HTTP channel: the output itself, or an error that names the play."""
    if not ran.outcomes:
        return Answer(200, _queued(ran))
    if len(ran.plays) > 1:
        return Answer(200, _table(ran))
    (play_id,), (outcome,) = ran.play_ids, ran.outcomes
    if outcome.state == "DONE":
        return Answer(200, {} if outcome.out is None else outcome.out)
    if outcome.ended and outcome.state != "FAIL":
        return Answer(200, {})
    if outcome.waits_for_somebody:
        return Answer(202, {"playId": play_id, "status": "waiting"})
    return _trouble(play_id, outcome)


def frame_answer(ran: Ran) -> Any:
    """Return the frame of a WebSocket channel (section 14.2)."""
    if not ran.outcomes:
        return _queued(ran)
    if len(ran.plays) > 1:
        return _table(ran)
    (play_id,), (outcome,) = ran.play_ids, ran.outcomes
    if outcome.state == "FAIL" or not (outcome.ended or outcome.waits_for_somebody):
        return _trouble(play_id, outcome).body
    return {"playId": play_id, "state": outcome.state, "out": outcome.out}


def _queued(ran: Ran) -> dict[str, Any]:
    if len(ran.plays) == 1:
        return {"playId": ran.play_ids[0], "status": "queued"}
    return {"playIds": ran.play_ids, "status": "queued"}


def _table(ran: Ran) -> list[dict[str, Any]]:
    return [
        {"flowId": play.flow_id, "playId": play.play_id, "state": outcome.state, "out": outcome.out}
        for play, outcome in zip(ran.plays, ran.outcomes, strict=True)
    ]


def _trouble(play_id: str, outcome: Outcome) -> Answer:
    if outcome.state == "FAIL":
        status, code = 500, outcome.error_code or "PLAY_FAILED"
        message = outcome.error or "the play failed"
    else:
        status, code, message = 504, "TIMEOUT", "the play did not end in time; it goes on"
    return Answer(status, {"error": code, "message": message, "statusCode": status, "playId": play_id})
