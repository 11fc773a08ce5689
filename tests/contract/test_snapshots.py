"""Snapshots that older releases left in the log can still be read; another shape needs another version (ADR 26)."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from libs.common.messages import play as m
from libs.common.messages.play_seen import SeenLevel, SeenLoop, SeenPlay, SeenStep
from services.executor.play_snapshot import SNAPSHOT_VERSION, is_readable, play_of, snapshot_of
from tests.builders import AT
from tests.contract.example_snapshots import SNAPSHOTS, path_of, shape

RECORDED = sorted(SNAPSHOTS.glob("v*.json"))
# Fields that came without a version: an older release decides the same when it loses them, and their absence is told
# from their being empty.
LOST_BY_OLDER = {"Level": {"counts"}, "Play": {"counts", "counted"}}
CHANGED = "the state of plays has another shape: raise SNAPSHOT_VERSION, record it, and see that older ones are read"


def recorded(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = msgspec.json.decode(path.read_bytes())
    return content


def holds(newer: Any, older: Any) -> bool:
    """Tell whether a state has all that an older one has; it may have more."""
    if isinstance(older, dict) and isinstance(newer, dict):
        return all(name in newer and holds(newer[name], value) for name, value in older.items())
    if isinstance(older, list) and isinstance(newer, list) and len(older) == len(newer):
        return all(map(holds, newer, older))
    return bool(newer == older)


def test_every_version_is_recorded() -> None:
    assert sorted(RECORDED) == sorted(path_of(number) for number in range(1, SNAPSHOT_VERSION + 1))


def test_the_shape_of_a_plays_state_is_that_of_its_version() -> None:
    kept = {
        struct: {name: kind for name, kind in fields.items() if name not in LOST_BY_OLDER.get(struct, ())}
        for struct, fields in shape().items()
    }
    assert kept == recorded(path_of(SNAPSHOT_VERSION))["shape"], CHANGED


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_a_recorded_snapshot_is_read_and_nothing_of_it_is_lost(path: Path) -> None:
    event = msgspec.convert(recorded(path)["snapshot"], m.PlaySnapshot)
    assert is_readable(event)
    again = msgspec.json.decode(msgspec.json.encode(snapshot_of(play_of(event), AT).play))
    assert holds(again, event.play)


def test_other_readers_find_in_a_snapshot_what_they_are_promised() -> None:
    play = recorded(path_of(SNAPSHOT_VERSION))["snapshot"]["play"]
    seen = msgspec.convert(play, SeenPlay, str_keys=True)
    assert (seen.args, seen.layers["first"].state) == ({"customer": "c-7"}, "DONE")
    promised: tuple[type[msgspec.Struct], ...] = (SeenPlay, SeenLevel, SeenLoop, SeenStep)
    kept = shape()
    for struct, of in zip(promised, ("Play", "Level", "Loop", "LayerRun"), strict=True):
        assert {field.name for field in msgspec.structs.fields(struct)} <= kept[of].keys()
