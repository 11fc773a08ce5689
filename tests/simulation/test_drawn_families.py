"""Families and lanes by seed come to rest and keep every law; `SEED=n pytest tests/simulation` plays one again."""

from collections import Counter

import pytest

from tests.simulation import families
from tests.simulation.kin import Kin
from tests.simulation.test_simulation import _seeds
from tests.simulation.truth import Violated
from tests.simulation.world import World


@pytest.mark.usefixtures("quiet_log")
@pytest.mark.parametrize("seeds", _seeds(), ids=lambda seeds: f"{seeds.start}-{seeds.stop - 1}")
def test_families_and_lanes_come_to_rest_and_keep_every_law(seeds: range) -> None:
    for seed in seeds:
        world = World(seed, families.draw(seed))
        try:
            world.run()
            Kin(world).check()
        except (Violated, RuntimeError) as error:
            pytest.fail(f"SEED={seed}: {error}\n{world.story()}")


@pytest.mark.usefixtures("quiet_log")
def test_these_worlds_hold_what_they_are_for() -> None:
    seen: Counter[str] = Counter()
    for seed in range(100):
        world = World(seed, families.draw(seed)).run()
        kin = Kin(world)
        kin.check()
        seen["in line"] += world.laws.lines.queued
        seen["calls"] += kin.calls
        seen["given up"] += kin.left
        seen["error flows"] += sum(kin.errors.values())
        seen["crashes"] += world.faults["crash"]
        seen["stalls"] += world.faults["stall"]
    assert min(seen[name] for name in seen) > 5, seen
    assert len(seen) == 6
