"""What the next answer must include."""

import pytest

from libs.common.errors import Invalid
from services.gateway import positions
from services.gateway.positions import Positions, format_header, parse_header


def test_the_highest_place_counts() -> None:
    known = Positions(1)
    for sequence in (5, 9, 7):
        known.note("acme", "PLAYS_0", sequence)
    assert known.of("acme") == {"PLAYS_0": 9}


def test_companies_know_nothing_of_each_other() -> None:
    known = Positions(1)
    known.note("acme", "PLAYS_0", 5)
    assert known.of("other") == {}


def test_a_header_raises_what_is_known_and_never_lowers_it() -> None:
    known = Positions(2)
    known.note("acme", "PLAYS_0", 5)
    assert known.of("acme", "PLAYS_0=3,PLAYS_1=8") == {"PLAYS_0": 5, "PLAYS_1": 8}


def test_a_header_may_name_other_systems_streams_in_vain() -> None:
    assert Positions(1).of("acme", "PLAYS_7=3,OTHER=1,\udcff=1") == {}


def test_the_companies_seen_longest_ago_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(positions, "COMPANIES_MAX", 2)
    known = Positions(1)
    for company in ("a", "b", "a", "c"):
        known.note(company, "PLAYS_0", 1)
    assert (known.of("a"), known.of("b"), known.of("c")) == ({"PLAYS_0": 1}, {}, {"PLAYS_0": 1})


def test_a_header_is_read_as_it_is_written() -> None:
    places = {"PLAYS_0": 42, "DEFINITIONS": 7}
    assert parse_header(format_header(places)) == places


@pytest.mark.parametrize(
    "header", ["x", "PLAYS_0", "PLAYS_0=", "=3", "PLAYS_0=-1", "PLAYS_0=1e3", "PLAYS_0=" + "9" * 30]
)
def test_a_malformed_header_is_refused(header: str) -> None:
    with pytest.raises(Invalid, match="Headrace-Sequence"):
        parse_header(header)
