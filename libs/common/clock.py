"""Time: the only place that asks the machine for it."""

import time
from datetime import UTC, datetime
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

    def now(self) -> datetime:
        """Return the current time in UTC."""
        return datetime.now(UTC)

    def monotonic_s(self) -> float:
        """Return the machine's monotonic clock in seconds."""
        return time.monotonic()
