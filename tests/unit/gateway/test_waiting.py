"""How long a caller wants to wait."""

import pytest
from aiohttp.test_utils import make_mocked_request

from libs.common.errors import Invalid
from services.gateway.waiting import wait_s_of


def _wait_s(query: str = "", prefer: str | None = None) -> float:
    headers = {} if prefer is None else {"Prefer": prefer}
    return wait_s_of(make_mocked_request("POST", f"/api/flows/a/run{query}", headers=headers))


@pytest.mark.parametrize(
    ("query", "prefer", "seconds"),
    [
        ("", None, 0),
        ("?wait=10", None, 10),
        ("?wait=0.5", None, 0.5),
        ("?wait=60", None, 60),
        ("?wait=0", "wait=10", 0),
        ("", "wait=10", 10),
        ("", "respond-async, wait=10", 10),
        ("", 'respond-async; wait="10"', 10),
        ("", "respond-async", 0),
    ],
)
def test_the_query_wins_over_the_header(query: str, prefer: str | None, seconds: float) -> None:
    assert _wait_s(query, prefer) == seconds


@pytest.mark.parametrize("text", ["61", "60.1", "-1", "x", "", "nan", "inf", "1e1", ".", "9" * 100])
def test_what_is_not_between_0_and_60_is_refused(text: str) -> None:
    with pytest.raises(Invalid, match="wait"):
        _wait_s(f"?wait={text}")
    with pytest.raises(Invalid, match="wait"):
        _wait_s(prefer=f"wait={text}")
