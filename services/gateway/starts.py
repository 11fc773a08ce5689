"""Starting flows for callers from outside the API, and waiting for what comes of it (spec flow8 section 14)."""

from typing import Any, NamedTuple

from libs.common import codec, ids, subjects
from libs.common.bus import APPEND_DEADLINE_S, Appended, Bus
from libs.common.clock import Clock
from libs.common.errors import Refused, Unavailable
from libs.common.messages.origin import Origin
from libs.common.messages.play import TERMINAL, PlayFailed, PlayWaiting, StartPlay, Trigger
from libs.common.messages.play_commands import RunMode
from libs.common.payloads import Payloads
from services.gateway.definitions import Definition, Definitions
from services.gateway.lines import IN_LINE
from services.gateway.live import Live, Seen, Test, Waiter
from services.gateway.plays import Plays, context_of, end_in, last_in
from services.gateway.positions import Positions

RUNNING = "RUN"
_WAITS = frozenset({codec.TYPE_NAMES[PlayWaiting]})


class Start(NamedTuple):
    """A wish to run a flow. The same `play_id` again starts nothing: it is about the play that is there."""

    company_id: str
    flow: Definition
    args: dict[str, Any]
    trigger: Trigger
    by: str = ""
    play_id: str = ""
    origin: Origin = Origin()
    mode: RunMode = ""
    idempotency_key: str = ""
    seed: str = ""


class Outcome(NamedTuple):
    """How a play stood when the wait was over.

    `state` is terminal, or `WAIT` or `ON_HOLD` when only a person can move it on, or `DEFERRED` in line for a slot, or
    anything else when the time was up. `out` is the output of a play that is DONE; `error` and `error_code` are those
    of one that failed.
    """

    state: str
    out: Any = None
    error: str = ""
    error_code: str = ""

    @property
    def ended(self) -> bool:
        """Tell whether the play has reached its end."""
        return self.state in TERMINAL

    @property
    def waits_for_somebody(self) -> bool:
        """Tell whether the play goes on only when a person acts: an approval, or a hold."""
        return self.state in {"WAIT", "ON_HOLD"}


class Begun:
    """A play whose start is in the log. `close` it when nobody waits any more."""

    def __init__(self, starts: "Starts", key: subjects.PlayKey, waiter: Waiter | None) -> None:
        self._starts = starts
        self._waiter = waiter
        self.key = key

    @property
    def play_id(self) -> str:
        """Return the play's id."""
        return self.key.play_id

    @property
    def flow_id(self) -> str:
        """Return the flow's id."""
        return self.key.flow_id

    async def outcome(self, within_s: float) -> Outcome:
        """Return what became of the play, waiting at most so long for an end, or for a need of a person.

        Raises Unavailable when the log does not answer.
        """
        assert self._waiter is not None, "started without a wait"
        # A lost message, or one that came while this call gave up, is in the stream.
        seen = await self._waiter.seen(within_s) or await self._starts.live.last(self.key)
        if seen is None:
            return Outcome(RUNNING)
        # Whoever was told of the end finds it in the read models (D11).
        self._starts.note(self.key, seen.sequence)
        if seen.state in TERMINAL:
            return await self._ended(seen)
        told = seen.state == IN_LINE or _settled(seen.state, seen.data)
        return Outcome(seen.state if told else RUNNING)

    async def _ended(self, seen: Seen) -> Outcome:
        end = end_in(seen.data)
        if end is None:
            raise Unavailable("the play has ended; its end cannot be read right now")
        if isinstance(end, PlayFailed):
            return Outcome(seen.state, None, end.error, end.error_code)
        return Outcome(seen.state, (await self._starts.payloads.whole(end, self.key.company_id)).out)

    def close(self) -> None:
        """Stop waiting. Closing twice is harmless."""
        if self._waiter is not None:
            self._waiter.close()


class Starts:
    """Appends start commands."""

    def __init__(
        self,
        bus: Bus,
        clock: Clock,
        definitions: Definitions,
        plays: Plays,
        live: Live,
        positions: Positions,
        payloads: Payloads,
    ) -> None:
        self._bus = bus
        self._clock = clock
        self._definitions = definitions
        self._plays = plays
        self.live = live
        self._positions = positions
        self.payloads = payloads

    def note(self, key: subjects.PlayKey, sequence: int) -> None:
        """Have later questions of the play's company wait until this much of its stream is projected."""
        self._positions.note(key.company_id, subjects.plays_stream(key.shard), sequence)

    async def runnable(self, company_id: str, flow_id: str) -> Definition:
        """Return a flow that may run. Raises NotFound (FLOW_NOT_FOUND), Refused (FLOW_DISABLED)."""
        flow = await self._definitions.find(company_id, flow_id)
        if not flow.enabled:
            raise Refused(f"flow {flow.id} is disabled", code="FLOW_DISABLED")
        return flow

    async def begin(self, start: Start, *, wait: bool, until: Test | None = None) -> Begun:
        """Append a start command; with `wait` the play's outcome can be asked for.

        The wait ends where `until` says so, or else where waiting longer is of no use without a person.
        Raises Unavailable when the log does not confirm in time, TooLarge for args that no message holds, TooMany when
        too many callers wait.
        """
        key = self._plays.key(start.company_id, start.flow.id, start.play_id or ids.new_id())
        # Before the append: what happens right after it must not be missed.
        waiter = await self.live.waiter(key, until or _settled) if wait else None
        try:
            if not start.play_id or await self._plays.requested(key) is None:
                await self.append(key, self._command(start))
            elif waiter is not None:
                # The play may have ended before this wait began.
                await self.live.look_for(waiter)
        except BaseException:
            if waiter is not None:
                waiter.close()
            raise
        return Begun(self, key, waiter)

    async def append(self, key: subjects.PlayKey, command: StartPlay, *, advice: str = "") -> Appended:
        """Store the start of a play and return its place once it is durable; a duplicate when the log has one already.

        Raises Unavailable, with the advice, when the log does not confirm in time, TooLarge for args that no message
        holds.
        """
        command_id = f"start-{key.play_id}"
        try:
            body = await self.payloads.encode_message(
                command, id=command_id, context=context_of(key), deadline_s=APPEND_DEADLINE_S
            )
            appended = await self._bus.append(
                key.command("start"), body, id=command_id, deadline_s=APPEND_DEADLINE_S
            )
        except Unavailable as error:
            raise Unavailable(
                f"the log did not confirm play {key.play_id} in time; it may start all the same{advice}"
            ) from error
        self.note(key, appended.sequence)
        return appended

    def _command(self, start: Start) -> StartPlay:
        return StartPlay(
            at=self._clock.now(),
            definition=start.flow.sequence,
            flow_version=start.flow.version,
            args=start.args,
            trigger=start.trigger,
            by=start.by,
            origin=start.origin,
            mode=start.mode,
            idempotency_key=start.idempotency_key,
            seed=start.seed or ids.random_seed(),
        )


def _settled(state: str, data: bytes) -> bool:
    """Tell whether a commit leaves the play where waiting longer is of no use without a person."""
    if state in TERMINAL or state == "ON_HOLD":
        return True
    if state != "WAIT":
        return False
    # A wait with a time goes on by itself: a delay, a retry.
    wait: PlayWaiting | None = last_in(data, _WAITS)
    return wait is not None and wait.until is None
