"""What an old log holds can still be read, and means what it meant: one recorded message of each type.

A golden file is never changed. A field may be added with a default; anything else is a new version of the type, with
an upcaster in libs/common/codec.py, and the old file stays (docs/bus.md, "Versions").
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from libs.common import codec
from libs.common.messages import play
from tests.contract.examples import GOLDEN

FILES = sorted(GOLDEN.glob("*.json"))


def recorded(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = msgspec.json.decode(path.read_bytes())
    return content


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_recorded_message_decodes_to_the_struct_of_its_type(path: Path) -> None:
    envelope = codec.decode_message(path.read_bytes())
    assert envelope.type == path.stem
    assert type(envelope.data) in codec.TYPE_NAMES
    if envelope.type in codec.TYPES:
        assert type(envelope.data) is codec.TYPES[envelope.type]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_nothing_that_was_recorded_is_lost(path: Path) -> None:
    data = codec.decode_message(path.read_bytes()).data
    if path.stem in codec.TYPES:
        again = msgspec.json.decode(codec.encode(data))
        assert lost(recorded(path)["data"], again) == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_envelope_is_read_whole(path: Path) -> None:
    written, read = recorded(path), codec.decode_message(path.read_bytes())
    assert (read.id, read.source, read.subject) == (written["id"], written["source"], written["subject"])
    assert (read.correlation_id, read.causation_id) == (written["correlationid"], written["causationid"])
    assert read.traceparent == written["traceparent"]
    assert read.time == msgspec.convert(written["time"], type(read.time), strict=False)


def test_every_type_has_a_recorded_message() -> None:
    assert sorted(set(codec.TYPES) - {path.stem for path in FILES}) == []


def test_every_recorded_type_is_still_known() -> None:
    assert sorted({path.stem for path in FILES} - set(codec.TYPES) - set(codec.UPCASTERS)) == []


def stranded(upcasters: Mapping[str, tuple[str, Any]]) -> list[str]:
    """Return the types from which these upcasters lead to no type of today: into nothing, or in a circle."""
    found = []
    for start in upcasters:
        name, seen = start, set[str]()
        while name in upcasters and name not in seen:
            seen.add(name)
            name = upcasters[name][0]
        if name not in codec.TYPES:
            found.append(start)
    return found


def test_every_upcaster_leads_to_a_current_type() -> None:
    assert stranded(codec.UPCASTERS) == []
    lost = {"a.v0": ("a.v1", None), "b.v0": ("b.v1", None), "b.v1": ("b.v0", None)}
    good = {
        "a.v-1": ("headrace.play.wake.v0", None),
        "headrace.play.wake.v0": ("headrace.play.wake.v1", None),
    }
    assert stranded(lost | good) == ["a.v0", "b.v0", "b.v1"]


def test_old_data_is_lifted_step_by_step() -> None:
    upcasters = {
        "headrace.play.cancel.v-1": ("headrace.play.cancel.v0", lambda data: {**data, "who": data["user"]}),
        "headrace.play.cancel.v0": (
            "headrace.play.cancel.v1",
            lambda data: {"at": data["at"], "by": data["who"]},
        ),
    }
    data = {"at": "2026-03-14T09:26:53.589Z", "user": "ada"}
    lifted = codec.upcast("headrace.play.cancel.v-1", data, upcasters)
    assert lifted == play.CancelPlay(at=lifted.at, by="ada")
    assert lifted.at.isoformat() == "2026-03-14T09:26:53.589000+00:00"


def test_data_that_does_not_fit_after_its_upcasters_is_refused() -> None:
    upcasters = {"headrace.play.wake.v0": ("headrace.play.wake.v1", lambda data: data)}
    with pytest.raises(msgspec.ValidationError, match="waitId"):
        codec.upcast("headrace.play.wake.v0", {"at": "2026-03-14T09:26:53Z"}, upcasters)


def test_a_type_that_nobody_knows_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError, match=r"headrace\.play\.dreamt\.v1"):
        codec.data_of("headrace.play.dreamt.v1", msgspec.Raw(b"{}"))


def lost(before: Any, after: Any, at: str = "$") -> list[str]:
    """Return the places whose recorded value is not there any more; what was added does not count."""
    if isinstance(before, dict) and isinstance(after, dict):
        return [place for key in before for place in lost(before[key], after.get(key), f"{at}.{key}")]
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        pairs = enumerate(zip(before, after, strict=True))
        return [place for n, (old, new) in pairs for place in lost(old, new, f"{at}[{n}]")]
    return [] if before == after else [at]
