"""Waiting for a condition, never for a time; only a failure ever meets the deadline."""

import asyncio
import inspect
import time
from collections.abc import Callable
from typing import Any

WITHIN_S = 60.0
# Often at first, for most conditions are true at once; whoever waits long does not keep the machine busy with asking.
POLL_S = 0.01
POLL_S_MAX = 0.05
POLL_FACTOR = 1.2


async def eventually(
    condition: Callable[[], Any], *, within_s: float = WITHIN_S, otherwise: Callable[[], str] = str
) -> Any:
    """Return the first true value of a condition, which may be a coroutine.

    Fails when none comes in time; `otherwise` tells what there was instead.
    """
    deadline_s, pause_s = time.monotonic() + within_s, POLL_S
    while True:
        value = condition()
        if inspect.isawaitable(value):
            value = await value
        if value:
            return value
        assert time.monotonic() < deadline_s, (
            f"not within {within_s:g} s: {condition.__qualname__} {otherwise()}"
        )
        await asyncio.sleep(pause_s)
        pause_s = min(pause_s * POLL_FACTOR, POLL_S_MAX)


def until(condition: Callable[[], bool], within_s: float, otherwise: Callable[[], str]) -> None:
    """Wait for a condition, without a loop. Fails with these words when it does not come true in time."""
    deadline_s = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline_s, otherwise()
        time.sleep(POLL_S)
