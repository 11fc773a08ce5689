"""Bugs of loops (spec flow8 section 17.1), planted on purpose."""

from datetime import datetime
from typing import Any

import msgspec

from libs.common.messages import play as m
from services.executor import play_commands, play_levels
from services.executor.attempts import Attempts
from services.executor.play import Play
from tests.simulation.planting import Planted, swap


def _items_given_up(state: Play, at: datetime, driver: m.Driver, reason: Any) -> tuple[m.PlayEvent, ...]:
    """17.1: whoever takes a play over regards the items that are under way as over."""
    events = _take_over(state, at, driver, reason)
    loop = state.loop
    if loop is None:
        return events
    run = state.layers[loop.ref]
    over = (
        m.ItemEnded(at=at, ref=loop.ref, layer_id=run.layer_id, order=run.order, iteration=(index,))
        for index in loop.open
    )
    return (*events, *over)


_take_over = play_commands._take_over


def _gathered_twice(loop: Any) -> None:
    """17.1: the last item of a batch is gathered twice."""
    if len(loop.ended) > 1:
        last = max(loop.ended)
        loop.ended[last] = [values * 2 for values in loop.ended[last]]
    _end_batch(loop)


def _gathered_as_they_end(loop: Any) -> None:
    """17.1: items are gathered in the order in which they ended."""
    for values in loop.ended.values():
        for key, given in zip(loop.collects, values, strict=True):
            loop.collected[key].extend(given)
    loop.start = loop.batch_end
    loop.ended = {}


_end_batch = play_levels._end_batch


_call = Attempts._call


def _one_key_for_all_items(self: Attempts, step: Any, *more: Any) -> Any:
    """Override 2: all items of a step share one idempotency key."""
    key = f"{self._key.play_id}:{step.ref}"
    return msgspec.structs.replace(_call(self, step, *more), idempotency_key=key)


LOOPS: dict[str, tuple[str, Planted]] = {
    "17.1 items given up by a take-over": ("loops", swap(play_commands, "_take_over", _items_given_up)),
    "17.1 an item gathered twice": ("loops", swap(play_levels, "_end_batch", _gathered_twice)),
    "17.1 items gathered as they end": ("unordered", swap(play_levels, "_end_batch", _gathered_as_they_end)),
    "17.1 one key for all items": ("loops", swap(Attempts, "_call", _one_key_for_all_items)),
}
