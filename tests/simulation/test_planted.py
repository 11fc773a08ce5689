"""The simulation finds every bug that the loss of one rule of the protocol would be."""

import itertools

import pytest

from tests.simulation.plans import draw
from tests.simulation.planted import PLANTED
from tests.simulation.truth import Violated
from tests.simulation.world import World

SEEDS_MAX = 400


@pytest.mark.usefixtures("quiet_log")
@pytest.mark.parametrize("name", sorted(PLANTED))
def test_the_simulation_finds_the_planted_bug(name: str) -> None:
    kind, plant = PLANTED[name]
    for seed in itertools.count():
        assert seed < SEEDS_MAX, f"{name} was not found in {SEEDS_MAX} worlds of kind {kind!r}"
        with plant():
            try:
                World(seed, draw(seed, kind)).run()
            except (Violated, RuntimeError):
                return
