"""A lane against a list of who came when and a number of slots: whatever happens, both say the same (ADR 36)."""

from collections import Counter

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from libs.common.messages.lane import AnyLaneEvent, Seat, SlotTaken
from services.executor.lane import Lane, Limit, acquire, evolve, folded, free
from tests.builders import AT

PLAYS = st.integers(0, 8)


class LaneMachine(RuleBasedStateMachine):
    """The real lane beside the list; its log is replayed from a fold now and then."""

    def __init__(self) -> None:
        super().__init__()
        self.lane, self.replayed = Lane(), Lane()
        self.running: list[str] = []
        self.line: list[str] = []
        self.slots = 2
        self.definition = 1
        self.retries: Counter[int] = Counter()

    def seat(self, number: int) -> Seat:
        """Return the seat that a play wants, or has, now."""
        return Seat(play_id=f"p{number}", flow_id="f", retry=self.retries[number])

    def let_in(self) -> None:
        """Let in who waits, first come first served, as far as there are slots."""
        while self.line and (self.slots == 0 or len(self.running) < self.slots):
            self.running.append(self.line.pop(0))

    def seen(self, events: list[AnyLaneEvent] | None) -> None:
        """Replay what was decided."""
        assert events is not None
        evolve(self.replayed, events)

    @rule(number=PLAYS)
    def a_play_comes(self, number: int) -> None:
        """Let a play want a slot, also one that has one or waits already."""
        seat = self.seat(number)
        name = seat.name
        self.seen(acquire(self.lane, seat, Limit(self.slots, self.definition), AT))
        self.let_in()
        if name not in self.running and name not in self.line:
            self.line.append(name)
        self.let_in()

    @rule(number=PLAYS)
    def a_play_ends(self, number: int) -> None:
        """Let a play end, also one that ended before or never came."""
        name = self.seat(number).name
        self.seen(free(self.lane, self.seat(number), AT))
        self.running = [other for other in self.running if other != name]
        self.line = [other for other in self.line if other != name]
        self.let_in()

    @rule(number=PLAYS)
    def a_play_is_retried(self, number: int) -> None:
        """Let a play end, be retried, and want a slot again: it comes after all that wait."""
        self.a_play_ends(number)
        self.retries[number] += 1
        self.a_play_comes(number)

    @rule(number=PLAYS)
    def an_earlier_end_comes_again(self, number: int) -> None:
        """Free once more what a play held before its last retry: its seat of now stays."""
        if self.retries[number]:
            before = Seat(play_id=f"p{number}", flow_id="f", retry=self.retries[number] - 1)
            self.seen(free(self.lane, before, AT))
            self.let_in()

    @rule(slots=st.integers(0, 4), number=PLAYS)
    def the_limit_changes(self, slots: int, number: int) -> None:
        """Change the limit; a lower one takes no slot away."""
        self.slots, self.definition = slots, self.definition + 1
        self.a_play_comes(number)

    @rule(slots=st.integers(0, 4), number=PLAYS)
    def somebody_knows_an_older_limit(self, slots: int, number: int) -> None:
        """Decide with a definition from before the newest change: its limit does not count."""
        seat = self.seat(number)
        name = seat.name
        if self.lane.limit.definition != self.definition or name not in [*self.running, *self.line]:
            return
        self.seen(acquire(self.lane, seat, Limit(slots, self.definition - 1), AT))
        self.let_in()

    @rule()
    def it_is_read_from_its_fold(self) -> None:
        """Forget the log before a whole commit."""
        self.replayed = Lane()
        evolve(self.replayed, [folded(self.lane, AT)])

    @invariant()
    def both_say_the_same(self) -> None:
        """Compare who runs, who waits and in which order."""
        for lane in (self.lane, self.replayed):
            assert sorted(lane.holders) == sorted(self.running)
            assert list(lane.queue) == self.line
        for place, name in enumerate(self.line, start=1):
            assert self.lane.position(name) == place

    def teardown(self) -> None:
        """Let all plays end: every slot is free."""
        while self.running or self.line:
            ending = (self.running or self.line)[0]
            play_id, _, retry = ending.partition(".")
            events = free(self.lane, Seat(play_id=play_id, flow_id="f", retry=int(retry or 0)), AT)
            began = [event.seat.name for event in events if isinstance(event, SlotTaken)]
            waited = self.line[: len(began)]
            self.running = [other for other in self.running if other != ending]
            self.line = [other for other in self.line if other != ending]
            assert began == [name for name in waited if name != ending]
            self.let_in()
        assert not self.lane.holders
        assert not self.lane.queue


LaneMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=30)
TestLaneModel = LaneMachine.TestCase
