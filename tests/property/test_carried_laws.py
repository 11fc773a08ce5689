"""A snapshot alone tells the read models, and who operates a play, what the whole history tells them."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from libs.common import codec, subjects
from libs.common.codec import Commit, Context
from libs.common.messages import play as m
from services.executor.play import fold
from services.executor.play_snapshot import snapshot_of
from services.gateway.play_story import Story
from services.store.log_reader import Record
from services.store.read_models import carried
from services.store.read_models.layers import LayerRow
from services.store.read_models.plays import PlayFold, PlaysBatch, _told
from tests.builders import AT
from tests.property.courses import LAWS, moves, plans, play

KEY = subjects.play_key("c", "f", "p", shards=1)
CONTEXT = Context(source=codec.source_of("c", "f"), subject="p", causation_id="x")


def projected(commits: list[Commit], *snapshots: m.PlaySnapshot, after: Sequence[Commit] = ()) -> PlayFold:
    batch = PlaysBatch()
    state = fold(commits).status
    told = (*(commit.events for commit in commits), *((one,) for one in snapshots))
    for number, events in enumerate((*told, *(commit.events for commit in after))):
        data = codec.encode_commit(list(events), commit_id=f"c{number}", context=CONTEXT)
        batch.add(Record(KEY.event(state), number + 1, data))
    return batch._plays["p"]


def reread(snapshot: m.PlaySnapshot) -> m.PlaySnapshot:
    data = codec.encode_commit([snapshot], commit_id="c", context=CONTEXT)
    (event,) = codec.decode_commit(data, sequence=1).events
    assert isinstance(event, m.PlaySnapshot)
    return event


def shown(row: LayerRow) -> dict[str, Any]:
    """Return what a row shows; a step that is to begin anew shows its last error, which nobody keeps, until it ends."""
    said = msgspec.structs.asdict(row)
    if row.round and row.completed_at is None:
        del said["error"], said["error_code"]
    if row.state == "NEW":
        del said["layer_id"], said["order"], said["approval"]
    if said.get("approval") is not None:
        said["approval"] = msgspec.json.decode(said["approval"])
    return said


@LAWS
@given(plans, moves)
def test_who_sees_the_snapshot_alone_sees_the_same_play(plan: Any, course: list[tuple[str, int]]) -> None:
    commits = play(plan, course).commits
    snapshot = snapshot_of(fold(commits), AT)
    if fold(commits).ended:
        return
    whole, alone = projected(commits), projected([], snapshot)
    assert whole.row.args == alone.row.args
    assert {name: shown(row) for name, row in alone.layers.items()} == {
        name: shown(row) for name, row in whole.layers.items() if name in alone.layers
    }
    missing = whole.layers.keys() - alone.layers.keys()
    # Of the items of loops that have ended a snapshot keeps one for each step; of a step that a retry lets begin anew
    # and that had not begun before, nothing.
    assert all(item or whole.layers[ref, item].state == "NEW" for ref, item in missing)


@LAWS
@given(plans, moves)
def test_a_snapshot_counts_what_has_ended_in_loops(plan: Any, course: list[tuple[str, int]]) -> None:
    commits = play(plan, course).commits
    state = fold(commits)
    if state.ended:
        return
    seen = carried.seen_play(reread(snapshot_of(state, AT)))
    assert seen is not None
    whole = projected(commits)
    rows = Counter((ref, whole.layers[ref, item].state) for ref, item in whole.ended_in_loops())
    assert carried.ended_in_loops(seen) == rows


@LAWS
@given(plans, moves, st.integers(0, 60))
def test_what_is_told_of_loops_at_the_end_of_a_batch_is_what_has_ended_by_then(
    plan: Any, course: list[tuple[str, int]], cut: int
) -> None:
    commits = play(plan, course).commits
    before = commits[: 1 + cut % len(commits)]
    if fold(before).ended:
        return
    whole = projected(commits)
    alone = projected([], snapshot_of(fold(before), AT), after=commits[len(before) :])
    rows = Counter((ref, whole.layers[ref, item].state) for ref, item in whole.ended_in_loops())
    told = {(each["ref"], each["state"]): each["ended"] for each in _told(alone)}
    assert told == rows


@LAWS
@given(plans, moves, st.integers(0, 60))
def test_who_has_seen_the_history_learns_nothing_from_a_snapshot(
    plan: Any, course: list[tuple[str, int]], cut: int
) -> None:
    commits = play(plan, course).commits
    commits = commits[: 1 + cut % len(commits)]
    if fold(commits).ended:
        return
    before = projected(commits)
    after = projected(commits, snapshot_of(fold(commits), AT))
    assert {name: shown(row) for name, row in after.layers.items()} == {
        name: shown(row) for name, row in before.layers.items()
    }
    assert (after.row.args, after.row.created_at) == (before.row.args, before.row.created_at)


def told(commits: list[Commit], *snapshots: m.PlaySnapshot) -> Story:
    story = Story()
    for event in (*(event for commit in commits for event in commit.events), *snapshots):
        story.tell(event)
    return story


@LAWS
@given(plans, moves)
def test_who_operates_a_play_is_told_the_same_by_its_snapshot(
    plan: Any, course: list[tuple[str, int]]
) -> None:
    commits = play(plan, course).commits
    state = fold(commits)
    if state.ended:
        return
    (snapshot,) = codec.decode_commit(
        codec.encode_commit([snapshot_of(state, AT)], commit_id="c", context=CONTEXT), sequence=1
    ).events
    assert isinstance(snapshot, m.PlaySnapshot)
    whole, alone = told(commits), told([], snapshot)
    assert alone.started is not None
    assert whole.started is not None
    for name in ("definition", "flow_version", "args", "by", "at"):
        assert getattr(alone.started, name) == getattr(whole.started, name)
    assert (alone.held, alone.pending, alone.ended) == (whole.held, whole.pending, whole.ended)
    assert alone.named <= whole.named
    assert all(item for _, _, item in whole.named - alone.named)
