"""What a play's state keeps of items that failed and have ended: the first ones, bounded (ADR 26)."""

from typing import Any

from libs.common.messages import play as m
from services.executor.play import Play, evolve
from services.executor.play_levels import FAILURE_OUT_BYTES_MAX, FAILURES_KEPT_MAX
from tests.builders import AT

LOOP: dict[str, Any] = {"ref": "loop", "layer_id": "loop"}


def opened(items: int, *, at: tuple[int, ...] = (), ref: str = "loop") -> m.LayerIterating:
    return m.LayerIterating(at=AT, ref=ref, layer_id=ref, items=list(range(items)), iteration=at)


def failed(iteration: tuple[int, ...], out: Any = None) -> m.LayerFailed:
    return m.LayerFailed(
        at=AT, ref="body", layer_id="body", error="no", error_code="E", iteration=iteration, out=out
    )


def ended(iteration: tuple[int, ...], ref: str = "loop") -> m.ItemEnded:
    return m.ItemEnded(at=AT, ref=ref, layer_id=ref, iteration=iteration)


def after(*events: m.PlayEvent) -> Play:
    play = Play()
    for event in events:
        evolve(play, event)
    return play


def kept(play: Play) -> list[tuple[int, ...]]:
    return [run.iteration for run in play.failures.get("body", [])]


def test_the_first_failures_are_kept_however_many_there_are() -> None:
    items = FAILURES_KEPT_MAX * 3
    events = [event for n in range(items) for event in (failed((n,)), ended((n,)))]
    assert kept(after(opened(items), *events)) == [(n,) for n in range(FAILURES_KEPT_MAX)]


def test_what_an_item_left_is_kept_with_it_unless_it_is_big() -> None:
    small, big = "x" * 10, "x" * FAILURE_OUT_BYTES_MAX
    play = after(opened(3), failed((0,), small), ended((0,)), failed((1,), big), ended((1,)))
    assert [run.out for run in play.failures["body"]] == [small]


def test_failures_of_loops_in_loops_come_to_the_level_around_them() -> None:
    inner: list[m.PlayEvent] = [failed((0, 1)), ended((0, 0), "inner"), ended((0, 1), "inner")]
    inner_end = m.LayerCompleted(at=AT, ref="inner", layer_id="inner", state="DONE", iteration=(0,))
    play = after(opened(2), opened(2, at=(0,), ref="inner"), *inner, inner_end)
    assert kept(play) == []
    evolve(play, ended((0,)))
    assert kept(play) == [(0, 1)]


def test_a_retry_that_begins_the_steps_anew_forgets_them() -> None:
    play = after(opened(1), failed((0,)), ended((0,)))
    retried = m.PlayRetried(at=AT, epoch=2, driver=m.Driver(2, 1), refs=("loop", "body"))
    evolve(play, retried)
    assert kept(play) == []
