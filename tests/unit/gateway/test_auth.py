"""Cookies, as browsers send them."""

import pytest

from services.gateway.auth import cookie_value
from services.gateway.digests import digest_of


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("sid=abc", "abc"),
        ("theme=dark; sid=abc; lang=de", "abc"),
        ("theme=dark;sid=abc", "abc"),
        ('sid="abc"', "abc"),
        ("sid=", ""),
        ("mysid=abc", ""),
        ("theme=sid=abc", ""),
        ("", ""),
        ("sid", ""),
        ("sid=a=b", "a=b"),
    ],
)
def test_the_cookie_of_a_session_is_found(header: str, value: str) -> None:
    assert cookie_value(header, "sid") == value


def test_bytes_that_are_no_utf8_have_a_digest_too() -> None:
    assert len(digest_of("\udcff")) == 64
