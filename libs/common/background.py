"""Work that goes on for as long as a service does. Should an error end it, the service ends as well, and says why.

A loop that is gone silently is worse than a process that is started again: what it looked after seems to be fine.
"""

import asyncio
from collections.abc import Callable, Coroutine

import structlog

log = structlog.get_logger(__name__)
_on_death: list[Callable[[], None]] = []


def keep(work: Coroutine[None, None, None], *, name: str) -> asyncio.Task[None]:
    """Start work that ends by cancellation, or when it is done; an error in it ends the service (`on_death`)."""
    task = asyncio.get_running_loop().create_task(work, name=name)
    task.add_done_callback(_ended)
    return task


def on_death(callback: Callable[[], None]) -> None:
    """Call this when work that was to be kept ended by an error."""
    _on_death.append(callback)


def _ended(task: "asyncio.Task[None]") -> None:
    error = None if task.cancelled() else task.exception()
    if error is None:
        return
    log.critical("background_work_died", name=task.get_name(), exc_info=error)
    for callback in _on_death:
        callback()
