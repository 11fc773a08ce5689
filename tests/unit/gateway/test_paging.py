"""Pages, spans of time and switches in a query."""

from datetime import UTC, datetime

import pytest

from libs.common.errors import Invalid
from libs.common.messages.query import Page
from services.gateway import paging


def test_the_first_page_has_25_rows() -> None:
    assert paging.page_of({}) == Page(page=0, size=25)


def test_a_size_above_100_is_clamped() -> None:
    assert paging.page_of({"size": "1000000"}).size == 100


def test_a_page_has_no_maximum() -> None:
    assert paging.page_of({"page": "9" * 29}).page == paging.PAGE_MAX


@pytest.mark.parametrize(
    "query", [{"size": "0"}, {"size": "-1"}, {"page": "-1"}, {"page": "1.5"}, {"page": ""}]
)
@pytest.mark.parametrize("extra", [{}, {"size": "x"}])
def test_what_is_no_whole_number_is_refused(query: dict[str, str], extra: dict[str, str]) -> None:
    with pytest.raises(Invalid, match=r"page|size"):
        paging.page_of({**query, **extra})


@pytest.mark.parametrize("text", ["٣", "1e3", "0x10", " 1", "1_0", "9" * 5000, "\x00"])
def test_only_plain_digits_make_a_number(text: str) -> None:
    with pytest.raises(Invalid, match="page"):
        paging.page_of({"page": text})


@pytest.mark.parametrize(("total", "pages"), [(0, 0), (1, 1), (25, 1), (26, 2), (142, 6)])
def test_the_number_of_pages_is_rounded_up(total: int, pages: int) -> None:
    assert paging.envelope([], total=total, page=Page()).pages == pages


def test_a_bare_date_includes_its_whole_day() -> None:
    query = {"from": "2026-01-31", "to": "2026-01-31"}
    assert paging.moment(query, "from") == datetime(2026, 1, 31, tzinfo=UTC)
    assert paging.moment_after(query, "to") == datetime(2026, 2, 1, tzinfo=UTC)


def test_a_timestamp_includes_its_whole_second() -> None:
    query = {"to": "2026-01-31T10:00:00Z"}
    assert paging.moment_after(query, "to") == datetime(2026, 1, 31, 10, 0, 1, tzinfo=UTC)


def test_a_timestamp_may_have_a_zone_whose_plus_was_lost() -> None:
    assert paging.moment({"from": "2026-01-31T10:00:00 02:00"}, "from") == datetime(
        2026, 1, 31, 8, tzinfo=UTC
    )


def test_the_last_day_of_time_does_not_overflow() -> None:
    assert paging.moment_after({"to": "9999-12-31"}, "to") == datetime.max.replace(tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    ["yesterday", "2026-02-30", "2026-13-01", "2026-1-1", "0", "0001-01-01T00:00:00+14:00", "2026-01-31\x00"],
)
def test_a_bad_date_is_refused(text: str) -> None:
    with pytest.raises(Invalid, match="from"):
        paging.moment({"from": text}, "from")


def test_a_switch_is_true_or_false() -> None:
    assert paging.switch({}, "enabled") is None
    assert paging.switch({"enabled": "false"}, "enabled") is False
    with pytest.raises(Invalid, match="enabled"):
        paging.switch({"enabled": "1"}, "enabled")


def test_a_choice_is_one_of_its_words() -> None:
    assert paging.choice({"state": "DONE"}, "state", ("DONE", "FAIL")) == "DONE"
    with pytest.raises(Invalid, match="DONE, FAIL"):
        paging.choice({"state": "done"}, "state", ("DONE", "FAIL"))


@pytest.mark.parametrize("text", ["a\x00", "\udcff"])
def test_text_that_storage_refuses_is_refused_first(text: str) -> None:
    with pytest.raises(Invalid, match="category"):
        paging.text({"category": text}, "category")
