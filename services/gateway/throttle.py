"""Login throttling: so many wrong passwords for one email from one address, then a pause."""

from collections import OrderedDict, deque

from libs.common.clock import Clock
from libs.common.errors import TooMany

FAILURES_MAX = 10
WINDOW_S = 60.0
PAIRS_MAX = 10_000


class Throttled(TooMany):
    """Too many failures; trying again makes sense in `retry_after_s`."""

    def __init__(self, message: str, *, retry_after_s: int) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class LoginThrottle:
    """Counts failed logins by email and address. In memory: each gateway process counts for itself."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._failures: OrderedDict[tuple[str, str], deque[float]] = OrderedDict()

    def check(self, email: str, address: str) -> None:
        """Raise Throttled when FAILURES_MAX logins of this pair failed within WINDOW_S seconds."""
        failures = self._failures.get((email, address))
        if failures is None:
            return
        now_s = self._clock.monotonic_s()
        while failures and failures[0] <= now_s - WINDOW_S:
            failures.popleft()
        if len(failures) >= FAILURES_MAX:
            retry_after_s = int(failures[0] + WINDOW_S - now_s) + 1
            raise Throttled("too many failed logins; wait before the next", retry_after_s=retry_after_s)

    def failed(self, email: str, address: str) -> None:
        """Remember a failure; the pair whose last one is longest ago is forgotten when there are too many pairs."""
        failures = self._failures.setdefault((email, address), deque(maxlen=FAILURES_MAX))
        self._failures.move_to_end((email, address))
        failures.append(self._clock.monotonic_s())
        if len(self._failures) > PAIRS_MAX:
            self._failures.popitem(last=False)

    def succeeded(self, email: str, address: str) -> None:
        """Forget the failures of this pair."""
        self._failures.pop((email, address), None)
