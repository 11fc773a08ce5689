"""Snapshots that older releases left in the log can still be read; another shape needs another version (ADR 26)."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from libs.common.messages import play as m
from services.executor.play_snapshot import SNAPSHOT_VERSION, is_readable, play_of, snapshot_of
from tests.builders import AT
from tests.contract.example_snapshots import SNAPSHOTS, path_of, shape

RECORDED = sorted(SNAPSHOTS.glob("v*.json"))
CHANGED = "the state of plays has another shape: raise SNAPSHOT_VERSION, record it, and see that older ones are read"


def recorded(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = msgspec.json.decode(path.read_bytes())
    return content


def test_every_version_is_recorded() -> None:
    assert sorted(RECORDED) == sorted(path_of(number) for number in range(1, SNAPSHOT_VERSION + 1))


def test_the_shape_of_a_plays_state_is_that_of_its_version() -> None:
    assert shape() == recorded(path_of(SNAPSHOT_VERSION))["shape"], CHANGED


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_a_recorded_snapshot_is_read_and_nothing_of_it_is_lost(path: Path) -> None:
    event = msgspec.convert(recorded(path)["snapshot"], m.PlaySnapshot)
    assert is_readable(event)
    again = msgspec.json.decode(msgspec.json.encode(snapshot_of(play_of(event), AT).play))
    assert {name: again.get(name) for name in event.play} == event.play
