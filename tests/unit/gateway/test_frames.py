"""Commits become frames."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from libs.common import ids
from libs.common.codec import Commit
from libs.common.messages import play as m
from services.gateway import frames
from services.gateway.frames import POSITIONS_PER_COMMIT, frames_of

AT = datetime(2026, 1, 31, 10, 0, 0, 250_000, tzinfo=UTC)
LATER = AT + timedelta(milliseconds=3_241)
PLAY, FLOW, LAYER = "p" * 24, "f" * 24, "l" * 24
STARTED = m.PlayStarted(at=AT, definition=1, flow_version=1, driver=m.Driver(1, 1))


def _frames(*events: Any, sequence: int = 7) -> list[dict[str, Any]]:
    commit = Commit(
        id="c",
        sequence=sequence,
        events=events,
        source=f"/companies/acme/flows/{FLOW}",
        subject=PLAY,
        time=AT,
        correlation_id="",
        causation_id="",
        traceparent="",
    )
    found = frames_of(commit, shard=0)
    return [json.loads(frame.text(str(frame.position))) for frame in found.frames]


def _completed(**fields: Any) -> m.LayerCompleted:
    return m.LayerCompleted(
        **{"at": LATER, "ref": "a", "layer_id": LAYER, "state": "DONE", "started_at": AT, **fields}
    )


def _types(*events: Any) -> list[str]:
    return [frame["type"] for frame in _frames(*events)]


def test_every_frame_says_what_when_where_and_its_place() -> None:
    assert _frames(STARTED) == [
        {
            "type": "play:started",
            "playId": PLAY,
            "flowId": FLOW,
            "state": "RUN",
            "timestamp": "2026-01-31T10:00:00Z",
            "sequence": 7 * POSITIONS_PER_COMMIT,
        }
    ]


def test_a_retry_in_line_is_deferred_and_starts_once_more_when_it_is_released() -> None:
    deferred = m.RetryDeferred(at=AT, refs=("a",), lanes=("f",), position=1)
    lifted = m.HoldLifted(at=AT, by="ann", in_line=True)
    released = m.PlayResumed(at=AT, epoch=2, driver=m.Driver(2, 1), reason="released")
    shown = [(frame["type"], frame["state"]) for frame in _frames(deferred, lifted, released)]
    assert shown == [("play:retried", "DEFERRED"), ("play:resumed", "DEFERRED"), ("play:started", "RUN")]


def test_a_pure_step_gives_both_frames_at_once() -> None:
    started, completed = _frames(_completed(out={"x": 1}))
    assert (started["type"], started["state"], started["timestamp"]) == (
        "play:layer:started",
        "RUN",
        "2026-01-31T10:00:00Z",
    )
    assert (completed["type"], completed["state"], completed["out"]) == (
        "play:layer:completed",
        "DONE",
        {"x": 1},
    )
    assert completed["timestamp"] == "2026-01-31T10:00:03Z"
    assert started["layerId"] == completed["layerId"] == LAYER
    assert started["playLayerId"] == completed["playLayerId"] == ids.derived_id(PLAY, "a")
    assert started["ref"] == completed["ref"] == "a"


def test_a_step_whose_start_was_stored_gives_its_end_alone() -> None:
    start = m.LayerStarted(at=AT, ref="a", layer_id=LAYER)
    assert _types(start) == ["play:layer:started"]
    assert _types(_completed(announced=True)) == ["play:layer:completed"]


def test_a_filtered_step_never_started() -> None:
    assert _types(_completed(state="FILTERED")) == ["play:layer:completed"]


def test_a_skipped_step_did() -> None:
    assert _types(_completed(state="SKIP")) == ["play:layer:started", "play:layer:completed"]


def test_a_step_that_was_never_reached_did_not_start() -> None:
    assert _types(_completed(state="SKIP", started_at=None)) == ["play:layer:completed"]


def test_retries_start_once() -> None:
    assert _types(m.LayerStarted(at=AT, ref="a", layer_id=LAYER, attempt=2)) == []


def test_a_failed_step_says_why() -> None:
    failed = m.LayerFailed(
        at=LATER, ref="a", layer_id=LAYER, error="no", error_code="MODULE_ERROR", announced=True
    )
    (frame,) = _frames(failed)
    assert (frame["type"], frame["state"], frame["error"]) == ("play:layer:failed", "FAIL", "no")
    assert frame["errorCode"] == "MODULE_ERROR"


def test_a_completed_play_tells_its_duration_from_its_own_commit() -> None:
    *_, frame = _frames(STARTED, m.PlayCompleted(at=LATER, state="DONE", out=5))
    assert (frame["type"], frame["state"], frame["out"], frame["duration"]) == (
        "play:completed",
        "DONE",
        5,
        3_241,
    )


def test_a_completed_play_tells_its_duration_from_what_its_end_says() -> None:
    (frame,) = _frames(m.PlayCompleted(at=LATER, state="FILTERED", started_at=AT))
    assert (frame["state"], frame["duration"]) == ("FILTERED", 3_241)


def test_a_failed_play_says_where_and_why() -> None:
    end = m.PlayFailed(at=LATER, error="no", error_code="TIMEOUT", ref="a", layer_id=LAYER, started_at=AT)
    (frame,) = _frames(end)
    assert {
        name: frame[name] for name in ("type", "state", "ref", "layerId", "error", "errorCode", "duration")
    } == {
        "type": "play:failed",
        "state": "FAIL",
        "ref": "a",
        "layerId": LAYER,
        "error": "no",
        "errorCode": "TIMEOUT",
        "duration": 3_241,
    }


def test_a_play_at_a_gate_names_the_gate() -> None:
    gate = m.LayerWaiting(at=AT, ref="a", layer_id=LAYER, kind="approval")
    (frame,) = _frames(gate, m.PlayWaiting(at=AT, wait_id="w"))
    assert (frame["type"], frame["state"], frame["ref"], frame["layerId"]) == (
        "play:waiting",
        "WAIT",
        "a",
        LAYER,
    )


def test_a_play_says_what_it_waits_for_wherever_its_step_began_to() -> None:
    (frame,) = _frames(m.PlayWaiting(at=AT, wait_id="w", ref="a", layer_id=LAYER, iteration=(3,)))
    assert (frame["ref"], frame["layerId"], frame["iteration"]) == ("a", LAYER, 3)


def test_places_grow_within_a_commit_and_between_commits() -> None:
    events = (STARTED, _completed(), m.PlayCompleted(at=LATER, state="DONE"))
    places = [frame["sequence"] for n in (7, 8) for frame in _frames(*events, sequence=n)]
    assert places == sorted(set(places))


@pytest.mark.parametrize(
    ("position", "sequence"), [(0, 0), (7 * 65_536, 7), (frames.end_of(7), 8), (7 * 65_536 + 3, 7)]
)
def test_reading_goes_on_where_a_position_is(position: int, sequence: int) -> None:
    assert frames.sequence_after(position) == sequence


def test_clocks_that_disagree_make_no_negative_duration() -> None:
    assert frames.milliseconds(LATER, AT) == 0
