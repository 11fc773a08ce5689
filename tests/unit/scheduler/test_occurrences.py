"""Named nights and days of the world's clocks, and what people write for when."""

import itertools
from datetime import UTC, datetime

import pytest

from libs.common.errors import Invalid
from libs.common.messages.schedule import Timing
from services.scheduler.cron import check
from services.scheduler.occurrences import occurrences


def first(count: int, after: str, **timing: object) -> list[str]:
    at = datetime.fromisoformat(after).replace(tzinfo=UTC)
    found = occurrences(Timing(**timing), at)  # type: ignore[arg-type]
    return [entry.strftime("%Y-%m-%d %H:%M:%S") for entry in itertools.islice(found, count)]


@pytest.mark.parametrize(
    ("zone", "cron", "after", "expected"),
    [
        # 02:00 becomes 03:00 on 29 March 2026.
        ("Europe/Berlin", "30 2 * * *", "2026-03-28", ["2026-03-28 01:30:00", "2026-03-30 00:30:00"]),
        # 03:00 becomes 02:00 on 25 October 2026.
        ("Europe/Berlin", "30 2 * * *", "2026-10-25", ["2026-10-25 00:30:00", "2026-10-26 01:30:00"]),
        ("America/New_York", "30 2 * * *", "2026-03-07", ["2026-03-07 07:30:00", "2026-03-09 06:30:00"]),
        ("America/New_York", "30 1 * * *", "2026-11-01", ["2026-11-01 05:30:00", "2026-11-02 06:30:00"]),
        # Half an hour is left out on 4 October 2026, and comes twice on 5 April.
        ("Australia/Lord_Howe", "15 2 * * *", "2026-10-02", ["2026-10-02 15:45:00", "2026-10-04 15:15:00"]),
        ("Australia/Lord_Howe", "45 1 * * *", "2026-04-04", ["2026-04-04 14:45:00", "2026-04-05 15:15:00"]),
        # There was no 30 December 2011.
        ("Pacific/Apia", "0 12 * * *", "2011-12-29", ["2011-12-29 22:00:00", "2011-12-30 22:00:00"]),
        ("Pacific/Apia", "0 12 30 12 *", "2011-12-01", ["2012-12-29 22:00:00"]),
    ],
)
def test_a_clock_that_is_moved(zone: str, cron: str, after: str, expected: list[str]) -> None:
    assert first(len(expected), after, cron=cron, timezone=zone) == expected


@pytest.mark.parametrize(
    ("cron", "expected"),
    [
        ("0 0 L * *", ["2026-01-31 00:00:00", "2026-02-28 00:00:00"]),
        ("0 0 * * 5L", ["2026-01-30 00:00:00", "2026-02-27 00:00:00"]),
        ("0 0 * * MON#2", ["2026-01-12 00:00:00", "2026-02-09 00:00:00"]),
        ("0 0 13 * FRI", ["2026-01-02 00:00:00", "2026-01-09 00:00:00", "2026-01-13 00:00:00"]),
        ("*/20 59 23 * * *", ["2026-01-01 23:59:00", "2026-01-01 23:59:20"]),
        ("@monthly", ["2026-02-01 00:00:00", "2026-03-01 00:00:00"]),
    ],
)
def test_a_cron_expression_occurs(cron: str, expected: list[str]) -> None:
    assert first(len(expected), "2026-01-01", cron=cron) == expected


def test_a_repeating_interval_occurs_as_often_as_it_says() -> None:
    found = first(9, "2025-01-01", every="R3/2026-01-01T00:00:00Z/PT15M")
    assert found == ["2026-01-01 00:00:00", "2026-01-01 00:15:00", "2026-01-01 00:30:00"]


def test_exclusions_leave_out_dates_and_matches() -> None:
    found = first(3, "2026-12-24", cron="0 9,12 * * *", exclusions=("2026-12-25", "* 12 * * *"))
    assert found == ["2026-12-24 09:00:00", "2026-12-26 09:00:00", "2026-12-27 09:00:00"]


def test_nothing_occurs_from_its_end_on() -> None:
    end = datetime(2026, 1, 3, tzinfo=UTC)
    assert first(9, "2026-01-01", cron="0 0 * * *", end_at=end) == ["2026-01-02 00:00:00"]


@pytest.mark.parametrize(
    ("timing", "words"),
    [
        ({"cron": "0 9 * * MOON"}, 'cron: "0 9 * * MOON": field 5: unknown name MOON'),
        ({"cron": "* 24 * * *"}, "field 2: 24 is no hour (0 to 23)"),
        ({"cron": "*/0 * * * *"}, "field 1: step '0' must be a whole number from 1"),
        ({"cron": "0 0 31 2 *"}, "there is no such day"),
        ({"cron": "* * * *"}, "not 4"),
        ({"every": "P1M"}, "months and years have no fixed length"),
        ({"every": "soon"}, "expected a duration"),
        ({"cron": "* * * * *", "every": "1m"}, "exactly one of cron and every"),
    ],
)
def test_a_mistake_is_explained(timing: dict[str, str], words: str) -> None:
    with pytest.raises(Invalid) as raised:
        check(Timing(**timing))  # type: ignore[arg-type]
    assert words in raised.value.message
