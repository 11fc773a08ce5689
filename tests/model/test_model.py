"""The protocol of child plays and of limits, checked in every state of a small model; each of its rules is needed."""

from typing import Any

import pytest

from tests.model import children, lanes
from tests.model.checker import Finding, explore
from tests.model.children import Children
from tests.model.lanes import Lanes

STATES_MAX = 100_000


def family(
    *wishes: str, without: str = "", hangs: bool = False, crashes: int = 0, stalls: int = 0
) -> Finding:
    model = Children(children.RULES - {without}, hangs=hangs)
    start = model.start(*wishes, crashes=crashes, stalls=stalls)
    return explore(start, model.moves, model.good, alike=model.alike, states_max=STATES_MAX)


def limited(plays: int, *, without: str = "", **course: Any) -> Finding:
    model = Lanes(lanes.RULES - {without})
    start = model.start(plays, **course)
    return explore(start, model.moves, model.good, alike=model.alike, states_max=STATES_MAX)


def right(finding: Finding) -> bool:
    assert finding.wrong == "", f"{finding.wrong}\n" + "\n".join(finding.trace)
    return finding.states > 1


def test_a_childs_result_reaches_its_parent_whatever_crashes_or_stalls() -> None:
    assert right(family(crashes=2))
    assert right(family(crashes=1, stalls=1))


def test_a_cancelled_parent_takes_a_hanging_child_with_it() -> None:
    assert right(family("cancel", hangs=True, crashes=1))
    assert right(family("cancel", hangs=True, stalls=1))


def test_a_parent_out_of_time_takes_a_hanging_child_with_it() -> None:
    assert right(family("wake", hangs=True, crashes=1))


def test_a_held_parent_loses_nothing() -> None:
    assert right(family("hold", "resume"))


@pytest.mark.parametrize(
    ("rule", "scenario"),
    [
        (
            "a driver does the duties of what it takes over first",
            {"hangs": True, "stalls": 1, "wish": "cancel"},
        ),
        ("an ended play's duties are done again", {"crashes": 1}),
        ("duties come after the commit", {"crashes": 1}),
        ("the end of the parent cancels the child", {"hangs": True, "wish": "cancel"}),
        ("a result is recorded while the parent runs", {"crashes": 1}),
        ("a result is recorded while the parent is held", {"wish": "hold resume"}),
    ],
)
def test_each_rule_of_child_plays_is_needed(rule: str, scenario: dict[str, int | str]) -> None:
    wishes = str(scenario.get("wish", "")).split()
    found = family(
        *wishes,
        without=rule,
        hangs=bool(scenario.get("hangs")),
        crashes=int(scenario.get("crashes", 0)),
        stalls=int(scenario.get("stalls", 0)),
    )
    assert rule in children.RULES
    assert found.wrong


def test_a_slot_is_free_at_rest_and_never_taken_twice() -> None:
    assert right(limited(3))
    assert right(limited(2, crashes=1, stalls=1))
    assert right(limited(1, cancels=(0,), crashes=1, stalls=1))
    assert right(limited(2, cancels=(1,)))


RETRIED: dict[str, Any] = {"retries": (0,), "ended": (0,)}


def test_a_retry_takes_a_slot_or_its_place_in_line() -> None:
    assert right(limited(1, retries=(0,), crashes=1, stalls=1))
    assert right(limited(1, retries=(0, 0), crashes=1))
    assert right(limited(1, retries=(0,), cancels=(0,), crashes=1))
    assert right(limited(2, retries=(0,)))
    assert right(limited(2, **RETRIED, crashes=1))
    assert right(limited(2, **RETRIED, stalls=1))


def test_a_hold_in_line_is_kept() -> None:
    assert right(limited(1, holds=(0,), crashes=1, stalls=1))
    assert right(limited(2, holds=(1,)))
    assert right(limited(2, **RETRIED, holds=(0,)))


@pytest.mark.parametrize(
    ("rule", "scenario"),
    [
        ("a redelivery of an ended play frees again", {"plays": 2, "crashes": 1}),
        ("a release of an unborn play starts it", {"plays": 2, "crashes": 1}),
        ("a start never drives a deferred play", {"plays": 2, "crashes": 1, "stalls": 1}),
        ("freeing always appends", {"plays": 1, "cancels": (0,), "crashes": 1, "stalls": 1}),
        ("releases are sent again", {"plays": 2, "crashes": 1}),
        ("releases follow the lane's commit", {"plays": 2, "crashes": 1}),
        ("the play is read again after a conflict of the lane", {"plays": 2, "crashes": 1, "stalls": 1}),
        ("the slot is freed before the acknowledgement", {"plays": 2}),
        ("a seat tells retries apart", {"plays": 1, "retries": (0,)}),
        ("an end frees its slot before its retry takes one", {"plays": 1, "retries": (0,), "crashes": 1}),
        ("who puts a retry in line looks at the lane again", {"plays": 2, **RETRIED}),
        ("a retry never drives a deferred play", {"plays": 2, **RETRIED, "crashes": 1, "stalls": 1}),
        ("a hold in line is recorded", {"plays": 2, "holds": (1,)}),
        ("a hold that overtakes the start is recorded in line", {"plays": 2, "holds": (1,)}),
    ],
)
def test_each_rule_of_limits_is_needed(rule: str, scenario: dict[str, Any]) -> None:
    assert rule in lanes.RULES
    assert limited(**scenario, without=rule).wrong
