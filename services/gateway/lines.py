"""Plays in line for a slot: whether a start has to wait for one, and at which place (flow8 section 10, ADR 36)."""

from libs.common.bus import Bus
from libs.common.codec import decode_commit
from libs.common.lane import COMPANY, Lane, fold
from libs.common.messages.lane import seat_name
from libs.common.subjects import LaneKey, PlayKey, lane_key, plays_stream
from services.gateway.definitions import Definition
from services.gateway.live import Live, Seen, Waiter

# How long a start of a limited flow waits for what comes of it: a few milliseconds, unless nobody decides it.
FIRST_COMMIT_WAIT_S = 5.0
IN_LINE = "DEFERRED"
# Of a play that nobody has decided yet: it is about to run, or, where a limit may hold it back, that is not known yet.
ACCEPTED, UNDECIDED = "RUN", "NEW"
NOT_STARTED = frozenset({IN_LINE, UNDECIDED})


class Lines:
    """The lines of limits, as starts and readers of plays meet them."""

    def __init__(self, bus: Bus, live: Live, *, company_plays_max: int, shards: int) -> None:
        self._bus = bus
        self._live = live
        self._company_plays_max = company_plays_max
        self._shards = shards

    async def waiter(self, key: PlayKey, flow: Definition) -> Waiter | None:
        """Return who waits for the first commit of a play that is to be started, None when no limit may defer it.

        Raises TooMany when too many callers wait.
        """
        if self.accepted(flow) == ACCEPTED:
            return None
        return await self._live.waiter(key, lambda _state, _data: True)

    def accepted(self, flow: Definition) -> str:
        """Return the state of a play of this flow that is in the log, and that nobody has decided yet."""
        return UNDECIDED if flow.is_limited or self._company_plays_max else ACCEPTED

    async def first(self, key: PlayKey, waiter: Waiter | None) -> Seen | None:
        """Return the newest commit of a play that was just started, None when nobody has decided it in time."""
        if waiter is None:
            return None
        return await waiter.seen(FIRST_COMMIT_WAIT_S) or await self._live.last(key)

    async def position(self, key: PlayKey, retries: int) -> int | None:
        """Return a waiting play's place in its line as that stands now, from 1; None when it waits in none.

        That of its flow first; one that has its slot there may wait for one of its company. Raises Unavailable.
        """
        for lane in (key.flow_id, COMPANY):
            known = await self._read(lane_key(key.company_id, lane, shards=self._shards))
            place = known.position(seat_name(key.play_id, retries))
            if place:
                return place
        return None

    async def _read(self, key: LaneKey) -> Lane:
        stream = plays_stream(key.shard)
        whole = await self._bus.last(stream, key.whole)
        stored = await self._bus.load(stream, key.events, since=whole.sequence if whole else 1)
        return fold(decode_commit(message.data, sequence=message.sequence).events for message in stored)
