"""The laws of a lane: running = started - ended, never more than the limit, first come first served (ADR 36)."""

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from libs.common.messages.lane import Seat, SlotFreed, SlotTaken
from services.executor.lane import Lane, Limit, acquire, evolve, folded, free
from tests.builders import AT

WISHES = st.lists(st.tuples(st.sampled_from(["acquire", "free"]), st.integers(0, 7)), max_size=60)


def seat(number: int) -> Seat:
    return Seat(play_id=f"p{number}", flow_id="f")


@settings(max_examples=60)
@given(wishes=WISHES, slots=st.integers(1, 4))
def test_a_lane_never_runs_more_than_its_limit_and_lets_in_in_order(
    wishes: list[tuple[str, int]], slots: int
) -> None:
    lane, replayed, asked = Lane(), Lane(), []
    for verb, number in wishes:
        name = f"p{number}"
        if verb == "acquire":
            asked += [name] if lane.standing(name) == "absent" else []
            events = acquire(lane, seat(number), Limit(slots), AT) or []
        else:
            asked = [other for other in asked if other != name]
            events = free(lane, seat(number), AT)
        evolve(replayed, events)
        assert (replayed.holders, list(replayed.queue)) == (lane.holders, list(lane.queue))
        assert [*lane.holders, *lane.queue] == asked
        assert len(lane.holders) == min(slots, len(asked))


@given(wishes=WISHES)
def test_a_repeat_takes_nothing_and_frees_nothing(wishes: list[tuple[str, int]]) -> None:
    lane = Lane()
    for verb, number in wishes:
        if verb == "acquire":
            acquire(lane, seat(number), Limit(2), AT)
            assert acquire(lane, seat(number), Limit(2), AT) == []
        else:
            free(lane, seat(number), AT)
            assert [type(event) for event in free(lane, seat(number), AT)] == [SlotFreed]


@given(wishes=WISHES)
def test_the_whole_lane_equals_its_history(wishes: list[tuple[str, int]]) -> None:
    lane = Lane()
    taken = 0
    for verb, number in wishes:
        events = (
            acquire(lane, seat(number), Limit(3), AT) if verb == "acquire" else free(lane, seat(number), AT)
        )
        taken += sum(isinstance(event, SlotTaken) for event in events or [])
    whole = Lane()
    evolve(whole, [folded(lane, AT)])
    assert (whole.limit, whole.holders, whole.queue) == (lane.limit, lane.holders, lane.queue)
    assert taken >= len(whole.holders)


RETRIES = st.lists(
    st.tuples(st.sampled_from(["ends", "is retried", "ends again"]), st.integers(0, 4)), max_size=60
)


@given(course=RETRIES, slots=st.integers(1, 3))
def test_slots_are_never_negative_and_free_at_rest_whoever_is_retried(
    course: list[tuple[str, int]], slots: int
) -> None:
    lane = Lane()
    retries = [0] * 5
    wanted: list[str] = []
    for what, number in course:
        now = Seat(play_id=f"p{number}", flow_id="f", retry=retries[number])
        if what == "ends again":
            before = structs.replace(now, retry=max(0, retries[number] - 1))
            free(lane, before, AT)
            wanted = [name for name in wanted if name != before.name]
        else:
            free(lane, now, AT)
            wanted = [name for name in wanted if name != now.name]
        if what == "is retried":
            retries[number] += 1
            again = structs.replace(now, retry=retries[number])
            acquire(lane, again, Limit(slots), AT)
            wanted.append(again.name)
        assert [*lane.holders, *lane.queue] == wanted
        assert len(lane.holders) == min(slots, len(wanted))
    for number, retry in enumerate(retries):
        free(lane, Seat(play_id=f"p{number}", flow_id="f", retry=retry), AT)
    assert not lane.holders
    assert not lane.queue


@given(limits=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3)), min_size=1, max_size=20))
def test_the_newest_definition_sets_the_limit_in_whatever_order_they_are_known(
    limits: list[tuple[int, int]],
) -> None:
    """Of a definition there is one limit: that of the first time it is drawn."""
    slots_of = dict(reversed(limits))
    lane = Lane()
    for number, (definition, _) in enumerate(limits):
        acquire(lane, seat(number), Limit(slots_of[definition], definition), AT)
    newest = max(slots_of)
    assert lane.limit == Limit(slots_of[newest], newest)
