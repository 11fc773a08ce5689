"""Plays that read and write KV entries, by seed: `SEED=n pytest tests/simulation` plays one of them again."""

import os
from collections import Counter

import pytest

from libs.common.messages.kv import KvReadings, OpenKv, ReadKvForStep
from services.executor.entries import Entries
from tests.builders import a_layer
from tests.simulation import entries
from tests.simulation.planted_entries import ENTRIES
from tests.simulation.planting import swap
from tests.simulation.test_stories import played, resumes, the_play
from tests.simulation.truth import Violated
from tests.simulation.world import World

SEEDS = range(100) if "SEED" not in os.environ else [int(os.environ["SEED"])]
SEEDS_MAX = 150


def play(seed: int) -> World:
    world = World(seed, entries.draw(seed)).run()
    entries.check(world)
    return world


@pytest.mark.usefixtures("quiet_log")
def test_all_attempts_read_the_same_and_write_once() -> None:
    seen: Counter[str] = Counter()
    for seed in SEEDS:
        try:
            world = play(seed)
        except (Violated, RuntimeError) as error:
            pytest.fail(f"SEED={seed}: {error}\n{World(seed, entries.draw(seed)).story()}")
        seen["away"] += world.shelf.refused
        seen["secrets"] += len(world.shelf.secrets)
        seen["writes"] += sum(map(len, world.shelf.applied.values()))
        seen["crashes"] += world.faults["crash"]
        seen["attempts"] += sum(run.attempt > 1 for run in world.effects.runs if run.seen is not None)
    if len(SEEDS) == 1:
        return
    assert min(seen.values()) > 20, seen
    assert len(seen) == 5


@pytest.mark.usefixtures("quiet_log")
def test_a_mistake_of_ours_while_a_step_reads_costs_a_redelivery_and_not_the_play() -> None:
    broken = iter([True, True])

    async def breaks_twice(self: Entries, question: ReadKvForStep | OpenKv) -> KvReadings:
        if next(broken, False):
            raise ZeroDivisionError
        return await read_for_step(self, question)

    read_for_step = Entries.read_for_step
    with swap(Entries, "read_for_step", breaks_twice)():
        world = played(a_layer(args={"value": "{{ $kv.n }}"}), entries=True)
    assert next(broken, None) is None
    assert the_play(world).play.status == "DONE"
    assert [event.reason for event in resumes(world)] == ["redelivery"] * 2


@pytest.mark.usefixtures("quiet_log")
@pytest.mark.parametrize("name", sorted(ENTRIES))
def test_the_simulation_finds_the_planted_bug(name: str) -> None:
    with ENTRIES[name]():
        for seed in range(SEEDS_MAX):
            try:
                play(seed)
            except (Violated, RuntimeError):
                return
    pytest.fail(f"{name} was not found in {SEEDS_MAX} worlds")
