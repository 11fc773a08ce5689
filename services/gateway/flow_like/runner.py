"""Running a board for a caller, in any of the three ways to be answered (spec flow-like section 11.3)."""

from aiohttp import web

from libs.common.errors import TooMany
from services.gateway.answers import reply, whole_seconds
from services.gateway.flow_like.jobs import QUEUE_FULL
from services.gateway.flow_like.launches import JOB_PREFIX, Launched, Launches, Wish, view_of
from services.gateway.flow_like.run_answers import RunAccepted, RunEnded
from services.gateway.flow_like.run_feed import RunFeed
from services.gateway.flow_like.run_records import RunRecords
from services.gateway.flow_like.run_stream import RunStreams
from services.gateway.parts import Parts
from services.gateway.routing import Call

SYNC_WAIT_S = 30.0
SYNC_WAIT_S_MAX = 60.0
# Where runs go: the log is the queue.
BACKEND = "queue"


class Runner:
    """Starts runs and answers at once, at their end, or all the way."""

    def __init__(self, parts: Parts, records: RunRecords) -> None:
        self._parts = parts
        self._launches = Launches(parts)
        self._records = records
        self._streams = RunStreams(parts)

    async def run(self, call: Call, wish: Wish, *, wait_s: float) -> web.Response:
        """Start a run; when the wish is `sync` wait for its end, so long at most.

        Raises as `Launches.start`, TooMany when the line for a slot is full and the wish waits.
        """
        waits = wish.mode == "sync"
        launched = await self._launches.start(call, wish, wait=waits)
        try:
            if not waits:
                return reply(_accepted(launched))
            outcome = await launched.begun.outcome(wait_s)
        finally:
            launched.begun.close()
        if outcome.error_code == QUEUE_FULL:
            raise TooMany(outcome.error)
        company_id, run_id = call.caller.company_id, launched.begun.play_id
        shown = await self._records.shown(company_id, await view_of(self._parts, company_id, run_id))
        first = _accepted(launched)
        answer = RunEnded(
            run_id=first.run_id,
            job_id=first.job_id,
            poll_token=first.poll_token,
            backend=first.backend,
            status=shown.status,
            output=shown.output,
            error=shown.error,
            started_at=shown.started_at,
            completed_at=shown.completed_at,
        )
        return reply(whole_seconds(answer))

    async def stream(self, call: Call, wish: Wish, *, with_state: bool) -> web.StreamResponse:
        """Start a run and send all that happens in it."""
        self._streams.check()
        launched = await self._launches.start(call, wish._replace(mode="stream"))
        feed = RunFeed(self._parts, launched.begun.key)
        return await self._streams.send(call.request, feed, with_state=with_state)


def _accepted(launched: Launched) -> RunAccepted:
    run_id = launched.begun.play_id
    return RunAccepted(
        run_id=run_id,
        job_id=f"{JOB_PREFIX}{run_id}",
        status="pending",
        poll_token=launched.poll_token,
        backend=BACKEND,
    )
