"""Worlds written by hand: single courses of events that have to end in one way."""

import asyncio
from typing import Any
from unittest import mock

import pytest

from libs.common.messages import play as m
from libs.common.messages.flow import Flow, Layer
from services.executor import commands
from services.executor.journal import publish_timer
from tests.builders import a_flow, a_layer
from tests.simulation.clockwork import EPOCH, PROCESS, Process
from tests.simulation.flows import COMPANY
from tests.simulation.plans import Plan
from tests.simulation.streams import PLAYS
from tests.simulation.truth import Truth, Violated
from tests.simulation.world import ACK_WAIT_S, World

NEVER = (10**6, 1, None)  # a fault that no world lives to see: until the trouble is over others may happen

pytestmark = pytest.mark.usefixtures("quiet_log")


def the_flow(*layers: Layer) -> Flow:
    return a_flow(*layers, id="f0", company_id=COMPANY)


def played(*layers: Layer, world: type[World] = World, seed: int = 1, **plan: Any) -> World:
    return world(seed, Plan(flows=[the_flow(*layers)], starts=[(0.0, 0, 1)], **plan)).run()


def the_play(world: World) -> Truth:
    return world.laws.plays["p0"]


def commits(world: World) -> list[list[str]]:
    return [[type(event).__name__ for event in commit.events] for commit in the_play(world).commits]


def resumes(world: World) -> list[m.PlayResumed]:
    events = [event for commit in the_play(world).commits for event in commit.events]
    return [event for event in events if isinstance(event, m.PlayResumed)]


def a_touch(ref: str = "a", *, index: int = 0, **args: Any) -> Layer:
    return a_layer(ref, app_id="touch", index=index, args=args)


def test_pure_steps_cost_one_command_and_one_commit() -> None:
    world = played(*(a_layer(f"s{n}", index=n) for n in range(5)))
    assert the_play(world).play.status == "DONE"
    assert len(world.server.streams[PLAYS].messages) == 2


def test_an_effect_stands_between_two_commits() -> None:
    world = played(a_touch())
    assert commits(world) == [["PlayStarted", "LayerStarted"], ["LayerCompleted", "PlayCompleted"]]


def test_a_long_wait_is_woken_on_time() -> None:
    world = played(a_layer("a", app_id="delay", args={"ms": 60_000}))
    assert the_play(world).play.status == "DONE"
    assert [event.reason for event in resumes(world)] == ["wake"]
    assert world.laws.slowest_wake_s < 0.5


def test_a_short_wait_is_sat_out() -> None:
    world = played(a_layer("a", app_id="delay", args={"ms": 1_500}))
    assert resumes(world) == []


def test_a_play_without_its_definition_fails_visibly() -> None:
    class Elsewhere(World):
        def definition_of(self, n: int) -> int:
            return n + 99

    world = played(a_touch(), world=Elsewhere)
    end = the_play(world).commits[-1].events[-1]
    assert isinstance(end, m.PlayFailed)
    assert end.error_code == "FLOW_NOT_FOUND"


def test_a_step_that_kills_every_executor_fails_and_the_next_one_runs() -> None:
    world = played(
        a_layer("a", app_id="touch", args={"kills": True}, on_error="continue"),
        a_touch("b", index=1),
        executors=3,
        crashes=[(900.0, 0, 1)],
    )
    layers = the_play(world).play.layers
    assert (layers["a"].error_code, layers["b"].state) == ("EXECUTOR_LOST", "DONE")
    assert world.faults["crash"] == 4


def test_a_play_is_handed_over_when_its_executor_stops() -> None:
    world = played(a_touch(ms=20_000), executors=2, stops=[(1.0, 0), (9.0, 0)])
    handed = resumes(world)
    assert the_play(world).play.status == "DONE"
    assert {event.reason for event in handed} == {"resume"}
    commit = next(c for c in the_play(world).commits if isinstance(c.events[0], m.PlayResumed))
    asked_at = handed[0].at
    stored_at = world.server.streams[PLAYS].messages[commit.sequence].at
    assert stored_at - (asked_at - EPOCH).total_seconds() < 0.2


def test_a_short_pause_repeats_nothing() -> None:
    world = played(a_touch(ms=4_000), commit_hits=[(1, 4, 2.5)])
    assert len(world.effects.runs) == 1
    assert resumes(world) == []


def test_a_pause_before_an_effect_is_noticed() -> None:
    world = played(a_touch(ms=10), executors=1, commit_hits=[(1, 3, 5.0)])
    assert the_play(world).play.status == "DONE"
    assert len(world.effects.runs) == 1


def test_a_cancel_reaches_a_hanging_step_without_a_nudge() -> None:
    world = played(
        a_layer("a", app_id="touch", args={"hangs": True}), cancels=[(1.0, 0)], weather={"nudge_lost": 1.0}
    )
    end = the_play(world).commits[-1]
    assert [type(event) for event in end.events] == [m.LayerFailed, m.PlayFailed]
    assert world.server.streams[PLAYS].messages[end.sequence].at < 6.0


@pytest.mark.parametrize("seed", range(12))
def test_a_cancel_that_races_its_start_in_one_process_leaves_the_driver_its_eyes(seed: int) -> None:
    flow = the_flow(a_layer("a", app_id="touch", args={"hangs": True}))
    plan = Plan(
        flows=[flow], executors=1, starts=[(0.0, 0, 1)], cancels=[(0.0, 0)], weather={"nudge_lost": 1.0}
    )
    world = World(seed, plan).run()
    end = the_play(world).commits[-1]
    assert world.server.streams[PLAYS].messages[end.sequence].at < 6.0


SEEDS_MAX = 20


class AskerFrozenBeforeHisAck(World):
    """A world in which whoever refuses a revive is frozen just before he says so, and the play's driver dies."""

    def run(self) -> World:
        """Play the world to its rest. Raises Violated."""
        with mock.patch.object(commands, "publish_timer", self._then_freeze):
            return super().run()

    async def _then_freeze(self, *of_timer: Any) -> None:
        await publish_timer(*of_timer)
        asker = PROCESS.get()
        driver = next((one for one in self.executors if self.laws.drives.get("p0") and _drives(one)), None)
        if asker is None or driver is None or driver is asker or self.faults["stall"]:
            return
        self._stall(asker, 2 * ACK_WAIT_S)
        # After a heartbeat, and before the revive comes again: so it comes before the start does.
        self.loop.call_later(ACK_WAIT_S - 0.3, self.crash, driver, context=self.loop.server_context)
        # Nothing of a frozen process runs past its next await.
        await asyncio.sleep(0)


def _drives(process: Process) -> bool:
    return any(drive in drives for drives, drive in process.drives)


def asked_by_a_frozen_one() -> World:
    plan = {"executors": 4, "revives": [(3.4, 0)], "hits": [NEVER]}
    for seed in range(SEEDS_MAX):
        world = played(a_touch(ms=30_000), world=AskerFrozenBeforeHisAck, seed=seed, **plan)
        if world.faults["stall"] and [event.reason for event in resumes(world)] == ["revive"]:
            return world
    raise AssertionError(f"in {SEEDS_MAX} worlds the driver itself was asked, or its start came first")


def test_a_command_that_somebody_refused_drives_only_as_a_new_message() -> None:
    world = asked_by_a_frozen_one()
    assert (the_play(world).play.status, world.faults["stall"], world.faults["crash"]) == ("DONE", 1, 1)
    (taken_over,) = resumes(world)
    sent = [at for at, (verb, _, _) in the_play(world).commands.items() if verb == "revive"]
    assert (taken_over.reason, len(sent), taken_over.driver.sequence) == ("revive", 2, sent[1])


def test_a_refusal_that_comes_late_takes_a_drivers_safety_net_without_a_new_message() -> None:
    with (
        mock.patch.object(commands, "_may_be_acked_by_others", return_value=False),
        pytest.raises(Violated, match=r"^I1: revive acknowledged while it drives"),
    ):
        asked_by_a_frozen_one()
