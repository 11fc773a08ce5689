"""Wrong passwords, and the pause after too many of them."""

from datetime import UTC, datetime

import pytest

from services.gateway import throttle
from services.gateway.throttle import FAILURES_MAX, WINDOW_S, LoginThrottle, Throttled


class Watch:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.s = 100.0

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.s, UTC)

    def monotonic_s(self) -> float:
        return self.s


@pytest.fixture
def watch() -> Watch:
    return Watch()


def _fail(logins: LoginThrottle, times: int) -> None:
    for _ in range(times):
        logins.failed("a@b.c", "10.0.0.1")


def test_a_few_failures_are_human(watch: Watch) -> None:
    logins = LoginThrottle(watch)
    _fail(logins, FAILURES_MAX - 1)
    logins.check("a@b.c", "10.0.0.1")


def test_too_many_failures_ask_for_a_pause(watch: Watch) -> None:
    logins = LoginThrottle(watch)
    _fail(logins, FAILURES_MAX)
    watch.s += 20
    with pytest.raises(Throttled) as refused:
        logins.check("a@b.c", "10.0.0.1")
    assert refused.value.retry_after_s == int(WINDOW_S) - 20 + 1


def test_the_pause_ends(watch: Watch) -> None:
    logins = LoginThrottle(watch)
    _fail(logins, FAILURES_MAX)
    watch.s += WINDOW_S
    logins.check("a@b.c", "10.0.0.1")


def test_another_address_or_email_is_not_paused(watch: Watch) -> None:
    logins = LoginThrottle(watch)
    _fail(logins, FAILURES_MAX)
    logins.check("a@b.c", "10.0.0.2")
    logins.check("x@b.c", "10.0.0.1")


def test_a_success_forgives(watch: Watch) -> None:
    logins = LoginThrottle(watch)
    _fail(logins, FAILURES_MAX - 1)
    logins.succeeded("a@b.c", "10.0.0.1")
    _fail(logins, 1)
    logins.check("a@b.c", "10.0.0.1")


def test_memory_is_bounded(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throttle, "PAIRS_MAX", 2)
    logins = LoginThrottle(watch)
    _fail(logins, FAILURES_MAX)
    logins.failed("second", "10.0.0.1")
    logins.failed("third", "10.0.0.1")
    logins.check("a@b.c", "10.0.0.1")
