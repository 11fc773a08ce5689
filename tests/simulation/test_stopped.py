"""A process that is told to stop, at every moment around a decision: nobody waits for what it leaves."""

import pytest

from libs.common.messages import play as m
from tests.builders import a_layer
from tests.simulation.test_stories import a_touch, played, resumes, the_play
from tests.simulation.world import World

# So many of these before a decision is made, and after.
MOMENTS = 12
MOMENT_S = 0.000_5
# A stop that comes when all is over.
MUCH_LATER_S = 1_000.0


def decided_and_worked(stop_s: float) -> World:
    """Play a gate and a step that takes longer than a process has to stop; the only one is stopped."""
    steps = (a_layer("gate", app_id="note", needs_approval=True), a_touch(index=1, ms=20_000))
    return played(*steps, executors=1, approvals=1.0, declines=0.0, stops=[(stop_s, 0)])


@pytest.mark.usefixtures("quiet_log")
def test_a_decision_that_comes_to_who_stops_is_driven_and_handed_over() -> None:
    undisturbed = decided_and_worked(MUCH_LATER_S)
    events = [event for commit in the_play(undisturbed).commits for event in commit.events]
    decided = next(event for event in events if isinstance(event, m.ApprovalDecided))
    begun = next(event for event in events if isinstance(event, m.PlayStarted))
    decided_s = (decided.at - begun.at).total_seconds()
    handed_over = 0
    for moment in range(-MOMENTS, MOMENTS):
        world = decided_and_worked(decided_s + moment * MOMENT_S)
        reasons = [event.reason for event in resumes(world)]
        assert the_play(world).play.status == "DONE"
        assert [event.driver.delivery for event in resumes(world)] == [1] * len(reasons), (moment, reasons)
        handed_over += "resume" in reasons
    assert handed_over
