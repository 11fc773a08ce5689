"""The events of one run as they happen, read from the log: for streams, and for those who ask again and again."""

from libs.common import codec, subjects
from libs.common.bus import Stored
from libs.common.messages.play import TERMINAL, PlayCompleted
from services.gateway.flow_like.run_events import RunEvent, events_of, position_of
from services.gateway.frames import frames_of, sequence_after
from services.gateway.parts import Parts
from services.gateway.plays import end_in

COMMITS_READ_MAX = 64
EVENTS_MAX = 100


class RunFeed:
    """Follows one play from an event on; `ended` when it had come to its end with the last event that was read."""

    def __init__(self, parts: Parts, key: subjects.PlayKey, *, after: int = 0) -> None:
        self._parts = parts
        self._key = key
        self._after = after
        self._since = sequence_after(position_of(after)) if after else 1
        self.ended = False

    async def next(self, within_s: float) -> list[RunEvent]:
        """Return what happened next, at most EVENTS_MAX; nothing when nothing does within this time.

        Raises Unavailable when the log does not answer, TooMany when too many callers wait.
        """
        # Before the first look: what happens right after it must not be missed.
        waiter = await self._parts.live.waiter(self._key, _anything)
        try:
            found = await self._read()
            if found or self.ended or within_s <= 0:
                return found
            if await waiter.seen(within_s) is None:
                return []
            return await self._read()
        finally:
            waiter.close()

    async def _read(self) -> list[RunEvent]:
        stream, found = subjects.plays_stream(self._key.shard), list[RunEvent]()
        while page := await self._parts.bus.load_page(
            stream, self._key.events, since=self._since, limit=COMMITS_READ_MAX
        ):
            for stored in page:
                events = [event for event in await self._events(stored) if event.sequence > self._after]
                kept = events[: EVENTS_MAX - len(found)]
                found += kept
                self._after = kept[-1].sequence if kept else self._after
                if len(kept) < len(events):
                    return found
                self._since = stored.sequence + 1
                self.ended = subjects.tail(stored.subject)[1] in TERMINAL
                self._parts.positions.note(self._key.company_id, stream, stored.sequence)
        return found

    async def _events(self, stored: Stored) -> list[RunEvent]:
        commit, _ = codec.known_part(stored.data, sequence=stored.sequence)
        frames = frames_of(commit, shard=self._key.shard).frames
        end = end_in(stored.data)
        out = None
        if isinstance(end, PlayCompleted) and end.payloads:
            out = (await self._parts.payloads.whole(end, self._key.company_id)).out
        return [event for frame in frames for event in events_of(frame, self._key.play_id, out=out)]


def _anything(_state: str, _data: bytes) -> bool:
    return True
