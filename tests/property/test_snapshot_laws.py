"""Laws of what stands in for a history: snapshots of a play, and references to big values."""

import asyncio
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from libs.common import codec
from libs.common.codec import Commit, Context
from libs.common.messages import play as m
from libs.common.messages.payload import PayloadRef
from libs.common.payloads import Payloads
from services.executor.play import Play, evolve_commit, fold
from services.executor.play_snapshot import is_readable, play_of, snapshot_of
from tests.builders import AT
from tests.property.courses import LAWS, moves, plans, play

CONTEXT = Context(source=codec.source_of("c", "f"), subject="p", causation_id="x")
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
references = st.fixed_dictionaries({"digest": st.text("0123456789abcdef"), "bytes": st.integers(0, 9)})
disguised = st.dictionaries(st.sampled_from(("payloads", "out", "args", "digest")), json_values | references)


def reread(event: m.PlaySnapshot) -> m.PlaySnapshot:
    """Return the event as a reader of the log gets it."""
    data = codec.encode_commit([event], commit_id="c", context=CONTEXT)
    (read,) = codec.decode_commit(data, sequence=1).events
    assert isinstance(read, m.PlaySnapshot)
    return read


def from_snapshot(commits: list[Commit], length: int) -> Play:
    state = play_of(reread(snapshot_of(fold(commits[:length]), AT)))
    for commit in commits[length:]:
        evolve_commit(state, commit)
    return state


@LAWS
@given(plans, moves, st.integers(0, 60))
def test_a_snapshot_and_the_rest_are_the_whole_history(
    plan: Any, course: list[tuple[str, int]], cut: int
) -> None:
    commits = play(plan, course).commits
    assert from_snapshot(commits, cut % (len(commits) + 1)) == fold(commits)


@LAWS
@given(plans, moves)
def test_a_snapshot_of_a_snapshot_is_the_same(plan: Any, course: list[tuple[str, int]]) -> None:
    once = reread(snapshot_of(play(plan, course).play, AT))
    assert reread(snapshot_of(play_of(once), AT)) == once


@LAWS
@given(plans, moves, st.integers(0, 60))
def test_who_starts_from_a_snapshot_decides_the_same(
    plan: Any, course: list[tuple[str, int]], cut: int
) -> None:
    scene = play(plan, course)
    before = None if scene.play.ended else scene.look()
    scene.play = from_snapshot(scene.commits, cut % (len(scene.commits) + 1))
    assert scene.play.ended if before is None else scene.look() == before


def test_a_snapshot_of_a_newer_release_is_not_read() -> None:
    snapshot = snapshot_of(Play(), AT)
    assert is_readable(snapshot)
    assert not is_readable(msgspec.structs.replace(snapshot, version=snapshot.version + 1))


class _Shelf(Payloads):
    """The real rules of what travels by reference, with a shelf instead of a stream."""

    def __init__(self, *, inline_bytes_max: int) -> None:
        self._inline_bytes_max = inline_bytes_max
        self.shelf: dict[tuple[str, str], bytes] = {}

    async def _put(self, company_id: str, data: bytes, deadline_s: float | None) -> PayloadRef:
        del deadline_s
        ref = PayloadRef(codec.encode(len(self.shelf)).decode(), len(data))
        self.shelf[company_id, ref.digest] = data
        return ref

    async def read(self, company_id: str, ref: PayloadRef) -> bytes:
        return self.shelf[company_id, ref.digest]


@LAWS
@given(json_values | disguised, disguised, st.integers(0, 120))
def test_any_value_comes_back_as_it_was_whatever_it_looks_like(
    out: Any, args: dict[str, Any], inline_bytes_max: int
) -> None:
    started = m.PlayStarted(at=AT, definition=1, flow_version=1, driver=m.Driver(1, 1), args=args)
    step = m.LayerCompleted(at=AT, ref="a", layer_id="a", state="DONE", out=out)
    ended = m.PlayCompleted(at=AT, state="DONE", out=out)
    given = (started, step, ended)

    async def round_trip() -> tuple[Any, ...]:
        shelf = _Shelf(inline_bytes_max=inline_bytes_max)
        data = await shelf.encode_commit(given, commit_id="c", context=CONTEXT)
        stored = codec.decode_commit(data, sequence=1)
        big = [value for value in (args, out, out) if len(codec.encode(value)) > inline_bytes_max]
        by_reference = [event.payloads for event in stored.events if event.payloads]
        assert len(by_reference) == len([value for value in big if isinstance(value, str | list | dict)])
        return (await shelf.whole_commit(stored)).events

    assert asyncio.run(round_trip()) == given
