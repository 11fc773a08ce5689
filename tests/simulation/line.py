"""What the lanes of limits really say, and the laws of slots.

Never more than there are, first come first served, no play runs without one or keeps its own after its end, and all are
free at rest.
"""

from collections.abc import Callable
from typing import NamedTuple

from libs.common.codec import decode_commit
from libs.common.messages import play as m
from libs.common.messages.lane import Seat, SlotFreed, SlotTaken, seat_name
from libs.common.subjects import PlayKey, lane_key, parse_play
from services.executor.lane import Lane, evolve
from tests.simulation.streams import Kept

Fail = Callable[[str, str, str], None]
# Of the commits that say something of a seat.
_WORDS = (b'"lanes":', b"play.retried", b"play.retry-deferred", b"play.resumed", b"play.started")
OPEN = {"RUN", "WAIT", "ON_HOLD", "DEFERRED"}


class Lines:
    """The lanes as the log has them."""

    def __init__(self, fail: Fail) -> None:
        self.lanes: dict[str, Lane] = {}
        self.queued = 0
        self.deferred_retries = 0
        self._seats: dict[str, _Seated] = {}  # of plays, by their commits
        self._fail = fail

    def stored(self, kept: Kept) -> bool:
        """Take in a commit of a lane; tell whether this message is one."""
        if kept.subject.startswith("evt.play."):
            self._play(kept)
        if not kept.subject.startswith("evt.lane."):
            return False
        name = kept.subject.rpartition(".")[0]
        lane = self.lanes.setdefault(name, Lane())
        held = set(lane.holders)
        for event in decode_commit(kept.data, sequence=kept.sequence).events:
            waited = set(lane.queue)
            if isinstance(event, SlotTaken):
                self._taken(name, lane, event.seat)
            elif isinstance(event, SlotFreed):
                self._freed(name, lane, event)
            evolve(lane, [event])
            self.queued += len(set(lane.queue) - waited)
        new = set(lane.holders) - held
        if new and lane.limit.slots and len(lane.holders) > lane.limit.slots:
            self._fail(
                "slots", min(new), f"{len(lane.holders)} of {lane.limit.slots} slots of {name} are taken"
            )
        return True

    def unfinished(self) -> list[str]:
        """Return which lanes are not empty."""
        return [
            f"{name} has holders {sorted(lane.holders)} and queue {list(lane.queue)}"
            for name, lane in self.lanes.items()
            if lane.holders or lane.queue
        ]

    def _taken(self, name: str, lane: Lane, seat: Seat) -> None:
        first = next(iter(lane.queue), seat.name)
        if first != seat.name:
            self._fail("FIFO", seat.play_id, f"a slot of {name} is taken although {first} waits for it")

    def _freed(self, name: str, lane: Lane, event: SlotFreed) -> None:
        now = self._seats.get(event.play_id)
        if now is None or now.state not in OPEN or event.retry < now.retry:
            return
        if lane.standing(seat_name(event.play_id, now.retry)) != "absent":
            self._fail("slots", event.play_id, f"freed in {name} while it is {now.state}")

    def _play(self, kept: Kept) -> None:
        key, state = parse_play(kept.subject)
        now = self._seats.get(key.play_id, _Seated("NEW"))._replace(state=state)
        if any(word in kept.data for word in _WORDS):
            for event in decode_commit(kept.data, sequence=kept.sequence).events:
                now = self._seated(key, now, event)
        self._seats[key.play_id] = now

    def _seated(self, key: PlayKey, now: "_Seated", event: m.PlayEvent) -> "_Seated":
        match event:
            case m.PlayStarted() | m.PlayRetried():
                retry = event.number if isinstance(event, m.PlayRetried) else 0
                now = now._replace(retry=retry, lanes=event.lanes, in_line=False)
                self._begins(key, now)
            case m.RetryDeferred():
                self.deferred_retries += 1
                now = now._replace(retry=event.number, lanes=event.lanes, in_line=True)
            case m.PlayResumed() if now.in_line:
                now = now._replace(in_line=False)
                if event.reason != "cancel":
                    self._begins(key, now)
            case _:
                pass
        return now

    def _begins(self, key: PlayKey, now: "_Seated") -> None:
        for of in now.lanes if now.state in OPEN else ():
            lane = self.lanes.get(lane_key(key.company_id, of, shards=1).events.rpartition(".")[0])
            if lane is None or lane.standing(seat_name(key.play_id, now.retry)) != "holds":
                self._fail("slots", key.play_id, f"it begins without a slot of {of}")


class _Seated(NamedTuple):
    """What a play's log says of its seat."""

    state: str
    retry: int = 0
    lanes: tuple[str, ...] = ()
    in_line: bool = False  # with a retry
