"""Time: the only place that asks the machine for it."""

import time
from datetime import UTC, datetime
from functools import partial
from typing import Protocol


class Clock(Protocol):
    """Wall time for facts, monotonic time for waits."""

    def now(self) -> datetime:
        """Return the current time in UTC."""
        ...

    def monotonic_s(self) -> float:
        """Return seconds that only ever grow; for durations and deadlines inside this process."""
        ...


class SystemClock:
    """The machine's own clock."""

    # The functions themselves: a play asks two dozen times, and a method around each would double the price.
    now = staticmethod(partial(datetime.now, UTC))
    monotonic_s = staticmethod(time.monotonic)
