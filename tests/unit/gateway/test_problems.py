"""What callers are told of errors that nobody meant for them."""

from libs.common.codec import UnknownType
from services.gateway import problems


def test_what_a_newer_release_wrote_is_nobodys_mistake_and_may_be_asked_for_again() -> None:
    said = problems.told(UnknownType("headrace.lane.painted.v1"), route="/api/plays/{id}")
    assert (said.status, said.code, said.headers) == (503, "UNAVAILABLE", {"Retry-After": "1"})
    assert "newer release" in said.message
