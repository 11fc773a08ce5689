"""What the lanes of limits really say, and the laws of slots.

Never more than there are, first come first served, no play runs without one or keeps its own after its end, and all are
free at rest.
"""

from collections.abc import Callable

from libs.common.codec import decode_commit
from libs.common.messages import play as m
from libs.common.messages.lane import SlotFreed, SlotTaken
from libs.common.subjects import lane_key, parse_play
from services.executor.lane import Lane, evolve
from tests.simulation.streams import Kept

Fail = Callable[[str, str, str], None]
OPEN = {"RUN", "WAIT", "ON_HOLD", "DEFERRED"}


class Lines:
    """The lanes as the log has them."""

    def __init__(self, fail: Fail) -> None:
        self.lanes: dict[str, Lane] = {}
        self.queued = 0
        self._states: dict[str, str] = {}  # of plays, by the subjects of their commits
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
                self._taken(name, lane, event.seat.play_id)
            elif isinstance(event, SlotFreed):
                self._freed(name, lane, event.play_id)
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

    def _taken(self, name: str, lane: Lane, play_id: str) -> None:
        first = next(iter(lane.queue), play_id)
        if first != play_id:
            self._fail("FIFO", play_id, f"a slot of {name} is taken although {first} waits for it")

    def _freed(self, name: str, lane: Lane, play_id: str) -> None:
        if lane.standing(play_id) != "absent" and self._states.get(play_id) in OPEN:
            self._fail("slots", play_id, f"freed in {name} while it is {self._states[play_id]}")

    def _play(self, kept: Kept) -> None:
        key, state = parse_play(kept.subject)
        if b'"lanes":' in kept.data:
            for event in decode_commit(kept.data, sequence=kept.sequence).events:
                if isinstance(event, m.PlayStarted) and event.lanes and state in OPEN:
                    self._begins(key.company_id, key.play_id, event.lanes)
        self._states[key.play_id] = state

    def _begins(self, company_id: str, play_id: str, lanes: tuple[str, ...]) -> None:
        for of in lanes:
            lane = self.lanes.get(lane_key(company_id, of, shards=1).events.rpartition(".")[0])
            if lane is None or lane.standing(play_id) != "holds":
                self._fail("slots", play_id, f"it begins without a slot of {of}")
