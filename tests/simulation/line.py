"""What the lanes of limits really say, and the laws of slots: never more than there are, and all free at rest."""

from collections.abc import Callable

from libs.common.codec import decode_commit
from services.executor.lane import Lane, evolve
from tests.simulation.streams import Kept

Fail = Callable[[str, str, str], None]


class Lines:
    """The lanes as the log has them."""

    def __init__(self, fail: Fail) -> None:
        self.lanes: dict[str, Lane] = {}
        self.queued = 0
        self._fail = fail

    def stored(self, kept: Kept) -> bool:
        """Take in a commit of a lane; tell whether this message is one."""
        if not kept.subject.startswith("evt.lane."):
            return False
        name = kept.subject.rpartition(".")[0]
        lane = self.lanes.setdefault(name, Lane())
        held, waited = set(lane.holders), set(lane.queue)
        evolve(lane, decode_commit(kept.data, sequence=kept.sequence).events)
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
