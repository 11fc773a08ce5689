"""Worlds by seed come to rest and keep every law; `SEED=n pytest tests/simulation` plays one of them again.

`SEEDS=100000` plays more of them than the usual ones.
"""

import os

import pytest

from tests.simulation.truth import Violated
from tests.simulation.world import World

SEEDS_DEFAULT = 300
CHUNKS = 10


def _seeds() -> list[range]:
    one = os.environ.get("SEED")
    if one is not None:
        return [range(int(one), int(one) + 1)]
    seeds = int(os.environ.get("SEEDS", str(SEEDS_DEFAULT)))
    size = -(-seeds // CHUNKS)
    return [range(first, min(first + size, seeds)) for first in range(0, seeds, size)]


@pytest.mark.usefixtures("quiet_log")
@pytest.mark.parametrize("seeds", _seeds(), ids=lambda seeds: f"{seeds.start}-{seeds.stop - 1}")
def test_worlds_come_to_rest_and_keep_every_law(seeds: range) -> None:
    for seed in seeds:
        world = World(seed)
        try:
            world.run()
        except (Violated, RuntimeError) as error:
            pytest.fail(f"SEED={seed}: {error}\n{world.story()}")


@pytest.mark.usefixtures("quiet_log")
def test_the_same_seed_is_the_same_history() -> None:
    first = [World(seed).run().digest() for seed in range(20)]
    again = [World(seed).run().digest() for seed in range(20)]
    assert first == again
    assert len(set(first)) == len(first)


@pytest.mark.usefixtures("quiet_log")
def test_the_worlds_hold_everything_that_can_go_wrong() -> None:
    missing = {
        "append_ack_lost", "append_delayed", "append_lost", "ack_lost", "crash", "late", "nudge_lost", "outage",
        "hold", "pull_lost", "read_lost", "restart", "retry", "revive", "stall", "stop", "wake_twice",
    }  # fmt: skip
    for seed in range(150):
        missing -= set(World(seed).run().faults)
        if not missing:
            return
    pytest.fail(f"in no world: {sorted(missing)}")
