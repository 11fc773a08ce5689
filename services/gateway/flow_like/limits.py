"""How often signing in may fail: by account and by address, in a sliding window (spec flow-like override 7)."""

from collections import OrderedDict, deque

from libs.common.clock import Clock
from libs.common.config import Config
from services.gateway.throttle import Throttled

COUNTED_MAX = 20_000


class Window:
    """Counts by name, the newest `most` within `window_s` seconds. In memory: each gateway counts for itself."""

    def __init__(self, clock: Clock, *, most: int, window_s: float) -> None:
        self._clock = clock
        self._most = most
        self._window_s = window_s
        self._counted: OrderedDict[str, deque[float]] = OrderedDict()

    def check(self, name: str) -> None:
        """Raise Throttled when this name was counted too often."""
        counted = self._counted.get(name)
        if counted is None:
            return
        now_s = self._clock.monotonic_s()
        while counted and counted[0] <= now_s - self._window_s:
            counted.popleft()
        if len(counted) >= self._most:
            retry_after_s = int(counted[0] + self._window_s - now_s) + 1
            raise Throttled("too many attempts; wait before the next", retry_after_s=retry_after_s)

    def count(self, name: str) -> None:
        """Count once; the name that was counted longest ago is forgotten when there are too many names."""
        counted = self._counted.setdefault(name, deque(maxlen=self._most))
        self._counted.move_to_end(name)
        counted.append(self._clock.monotonic_s())
        if len(self._counted) > COUNTED_MAX:
            self._counted.popitem(last=False)

    def uncount(self, name: str) -> None:
        """Take back the newest count."""
        counted = self._counted.get(name)
        if counted:
            counted.pop()

    def forget(self, name: str) -> None:
        """Forget all counts of a name."""
        self._counted.pop(name, None)


class SignInLimits:
    """What guards passwords, refresh tokens and the making of accounts."""

    def __init__(self, config: Config, clock: Clock) -> None:
        window_s = config.sign_in_window_s
        per_address = config.sign_in_failures_address_max
        self._accounts = Window(clock, most=config.sign_in_failures_account_max, window_s=window_s)
        self._addresses = Window(clock, most=per_address, window_s=window_s)
        self._registrations = Window(clock, most=per_address, window_s=window_s)

    def begin(self, account: str, address: str) -> None:
        """Count an attempt as failed until it is known to be right. Raises Throttled.

        Counted before it is tried, so that a thousand at once are not one.
        """
        self._addresses.check(address)
        if account:
            self._accounts.check(account)
            self._accounts.count(account)
        self._addresses.count(address)

    def succeeded(self, account: str, address: str) -> None:
        """Take note that the attempt that was begun was right."""
        self._accounts.forget(account)
        self._addresses.uncount(address)

    def undecided(self, account: str, address: str) -> None:
        """Take note that it is not known whether the attempt was right: something else was wrong."""
        self._accounts.uncount(account)
        self._addresses.uncount(address)

    def register(self, address: str) -> None:
        """Count a registration. Raises Throttled."""
        self._registrations.check(address)
        self._registrations.count(address)
