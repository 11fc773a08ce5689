"""The simulation finds what the loss of a rule of child plays or of lanes would be."""

import itertools

import pytest

from tests.simulation import families
from tests.simulation.kin import Kin
from tests.simulation.planted_families import FAMILIES
from tests.simulation.planted_lanes import LANES
from tests.simulation.truth import Violated
from tests.simulation.world import World

SEEDS_MAX = 400
PLANTED = FAMILIES | LANES


@pytest.mark.usefixtures("quiet_log")
@pytest.mark.parametrize("name", sorted(PLANTED))
def test_the_simulation_finds_the_planted_bug(name: str) -> None:
    kind, plant = PLANTED[name]
    for seed in itertools.count():
        assert seed < SEEDS_MAX, f"{name} was not found in {SEEDS_MAX} worlds of kind {kind!r}"
        with plant():
            world = World(seed, families.draw(seed, kind))
            try:
                world.run()
                Kin(world).check()
            except (Violated, RuntimeError):
                return
