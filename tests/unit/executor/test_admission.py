"""In which lanes a play needs a slot (ADR 36)."""

import pytest

from libs.common.lane import COMPANY
from libs.common.messages import play as m
from services.executor.admission import Limits, lanes_of

FREE, BOUND = Limits(0, 1), Limits(5, 1)
BESIDE = m.Parent(flow_id="g", play_id="p")
ABOVE = m.Parent(flow_id="g", play_id="p", lanes=("f", COMPANY))


@pytest.mark.parametrize(
    ("parent", "max_concurrent", "limits", "lanes"),
    [
        (None, 0, FREE, ()),
        (None, 2, FREE, ("f",)),
        (None, 0, BOUND, (COMPANY,)),
        (None, 2, BOUND, ("f", COMPANY)),
        # Whoever waits for it has a slot of the company, or needed none.
        (BESIDE, 0, BOUND, ()),
        (BESIDE, 2, BOUND, ("f",)),
        # An ancestor is of the same flow: both would wait for each other.
        (ABOVE, 2, BOUND, ()),
    ],
)
def test_a_play_needs_a_slot_of_its_flow_and_of_its_company_unless_it_shares_one(
    parent: m.Parent | None, max_concurrent: int, limits: Limits, lanes: tuple[str, ...]
) -> None:
    assert lanes_of("f", parent, max_concurrent, limits) == lanes
