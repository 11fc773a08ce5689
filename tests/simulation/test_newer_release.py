"""Executors of an older release leave what a newer one wrote alone, and go on with it once they are of that release."""

from unittest import mock

import pytest

from libs.common import codec
from libs.common.codec import Context, encode_commit, encode_message, source_of
from libs.common.messages import play as m
from libs.common.messages.flow import Layer
from services.executor import history
from tests.builders import a_flow, a_layer
from tests.simulation.clockwork import EPOCH
from tests.simulation.flows import COMPANY
from tests.simulation.plans import Plan
from tests.simulation.truth import Truth, Violated
from tests.simulation.world import World

CONTEXT = Context(source=source_of(COMPANY, "f0"), subject="p0")
FUTURE = "headrace.play.future.v1"
AT_S = 3.0
UPDATED_S = 40.0

pytestmark = pytest.mark.usefixtures("quiet_log")


def played(layer: Layer, kind: type[World], *, seed: int = 1) -> World:
    """Play one play of one step among executors of an older release."""
    flow = a_flow(layer, id="f0", company_id=COMPANY)
    return kind(seed, Plan(flows=[flow], starts=[(0.0, 0, 1)])).run()


def the_play(world: World) -> Truth:
    return world.laws.plays["p0"]


def a_wait() -> Layer:
    return a_layer("a", app_id="delay", args={"ms": 20_000})


def an_effect() -> Layer:
    return a_layer("a", app_id="touch", args={"ms": 20_000})


class CommandOfANewerRelease(World):
    """A world in which somebody sends a command that none of its executors knows."""

    def definition_of(self, n: int) -> int:
        known = encode_message(m.CancelPlay(at=EPOCH), id="newer", context=CONTEXT)
        unknown = known.replace(b"headrace.play.cancel.v1", FUTURE.encode())
        self.loop.call_soon(self.server.store, self.people.keys[n].command("release"), unknown, {})
        return super().definition_of(n)


class FactOfANewerRelease(World):
    """A world in which an executor of a newer release writes to the play; in its name a cancel."""

    def definition_of(self, n: int) -> int:
        self.loop.call_later(AT_S, self._write, n)
        return super().definition_of(n)

    def _write(self, n: int) -> None:
        key, truth = self.people.keys[n], self.laws.plays[f"p{n}"]
        known = encode_commit([m.CancelRequested(at=EPOCH)], commit_id="newer", context=CONTEXT)
        data = known.replace(b"headrace.play.cancel-requested.v1", FUTURE.encode())
        assert self.server.store(key.event(truth.play.status), data, {}).get("error") is None


class Updated(FactOfANewerRelease):
    """A world in which, some time after that, all executors are of the newer release."""

    def definition_of(self, n: int) -> int:
        self.loop.call_later(UPDATED_S, self._update)
        return super().definition_of(n)

    def _update(self) -> None:
        codec._decoders[FUTURE] = codec._decoders["headrace.play.cancel-requested.v1"]

    def run(self) -> World:
        """Play the world to its rest. Raises Violated."""
        with mock.patch.dict(codec._decoders):
            return super().run()


def test_a_command_of_a_newer_release_is_left_to_an_executor_that_knows_it() -> None:
    with pytest.raises(Violated, match=r"not at rest .*release at 2 is not acknowledged$"):
        played(a_layer("a", app_id="touch"), CommandOfANewerRelease)


@pytest.mark.parametrize("layer", [a_wait(), an_effect()], ids=["parked", "driven"])
def test_nobody_drives_a_play_whose_history_only_a_newer_release_can_read(layer: Layer) -> None:
    with pytest.raises(Violated, match=r"not at rest .* is not acknowledged$"):
        played(layer, FactOfANewerRelease)


@pytest.mark.parametrize("layer", [a_wait(), an_effect()], ids=["parked", "driven"])
@pytest.mark.parametrize("seed", range(10))
def test_executors_of_the_newer_release_go_on_with_it(layer: Layer, seed: int) -> None:
    world = played(layer, Updated, seed=seed)
    end = the_play(world).commits[-1].events[-1]
    assert isinstance(end, m.PlayFailed)
    assert end.error_code == "CANCELLED"


def test_the_simulation_finds_who_skips_what_he_cannot_read() -> None:
    def skipped(payload: bytes, *, sequence: int) -> codec.Commit:
        return codec.known_part(payload, sequence=sequence)[0]

    with (
        mock.patch.object(history, "decode_commit", skipped),
        pytest.raises(Violated, match=r"^newer: somebody drives it"),
    ):
        played(a_wait(), FactOfANewerRelease)
