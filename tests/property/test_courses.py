"""The courses get far enough for the laws to say something: what never happens breaks none."""

from collections import Counter
from typing import Any

from hypothesis import given

from libs.common.messages import play as m
from tests.property.courses import LAWS, moves, plans, play

MET = {
    "a step has ended": lambda event: isinstance(event, m.LayerCompleted),
    "a step has failed": lambda event: isinstance(event, m.LayerFailed),
    "a step in a loop has ended": lambda event: isinstance(event, m.LayerCompleted) and event.iteration,
    "an item has ended": lambda event: isinstance(event, m.ItemEnded),
    "an aggregator has ended": lambda event: isinstance(event, m.LayerCompleted) and event.ref == "all",
    "a step waits for a play": lambda event: isinstance(event, m.LayerWaiting) and event.child,
    "somebody has voted": lambda event: isinstance(event, m.ApprovalVoted),
    "an approval is decided": lambda event: isinstance(event, m.ApprovalDecided),
    "a play is done": lambda event: isinstance(event, m.PlayCompleted),
    "a play has failed": lambda event: isinstance(event, m.PlayFailed),
    "a play waits": lambda event: isinstance(event, m.PlayWaiting),
    "a play is on hold": lambda event: isinstance(event, m.PlayHeld),
    "a play was taken over": lambda event: isinstance(event, m.PlayResumed),
    "a play is retried": lambda event: isinstance(event, m.PlayRetried),
}


def test_what_the_laws_are_about_happens() -> None:
    met: Counter[str] = Counter()

    @LAWS
    @given(plans, moves)
    def drawn(plan: Any, course: list[tuple[str, int]]) -> None:
        events = [event for commit in play(plan, course).commits for event in commit.events]
        met.update(name for name, is_met in MET.items() if any(map(is_met, events)))

    drawn()
    assert {name: met[name] for name in MET if met[name] < 2} == {}
