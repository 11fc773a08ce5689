"""What was accepted can be read while the projection is late: one play, and its steps, from the log itself."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest

from libs.common import ids, rpc, subjects
from libs.common.clock import SystemClock
from libs.common.codec import Context, source_of
from libs.common.errors import NotFound, Unavailable
from libs.common.messages import play as m
from libs.common.messages.query import GetPlay, ListPlayLayers, Page
from libs.common.payloads import Payloads
from services.store import late_plays
from services.store.page_values import LISTED_VALUE_BYTES_MAX
from tests.integration.store_parts import (
    COMPANY,
    PlayLog,
    Store,
    at,
    five_step_play,
    layer_done,
    looping_play,
    running_store,
    started,
)
from tests.waiting import WITHIN_S

STREAM = subjects.plays_stream(0)


@asynccontextmanager
async def late_projection(dsn: str) -> AsyncIterator[None]:
    """Let nothing be written to the read model of plays until the end of the block; it can be read."""
    connection = await asyncpg.connect(dsn)
    try:
        async with connection.transaction():
            await connection.execute("lock table headrace.plays in exclusive mode")
            yield
    finally:
        await connection.close()


async def _shown(store: Store, play: PlayLog, **more: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a play and its steps, as an asker sees them who knows all that is in the log."""
    after = {STREAM: await store.bus.last_sequence(STREAM)}
    one = await store.query("play", GetPlay(company_id=COMPANY, play_id=play.id, after=after))
    wish = ListPlayLayers(company_id=COMPANY, play_id=play.id, after=after, **more)
    return one, await store.query("play", wish)


async def test_a_play_reads_the_same_before_and_after_its_projection(nats_url: str, database: str) -> None:
    fails = m.LayerFailed(at=at(4), ref="last", layer_id="l", order=5, error="no", error_code="NO")
    histories: list[list[tuple[str, tuple[m.Event, ...]]]] = [
        [],
        [("DONE", five_step_play())],
        [("DONE", looping_play())],
        [
            ("RUN", (started(args={"n": 1}), layer_done("a"), m.HoldRequested(at=at(3), by="x", note="y"))),
            ("FAIL", (fails, m.PlayFailed(at=at(5), error="no", error_code="NO", ref="last"))),
            ("DEFERRED", (m.RetryDeferred(at=at(6), refs=("last",), position=1),)),
        ],
    ]
    async with running_store(nats_url, database) as store:
        plays = [PlayLog(store.bus) for _ in histories]
        async with late_projection(database):
            for play, commits in zip(plays, histories, strict=True):
                await play.request(args={"n": 1})
                for state, events in commits:
                    await play.commit(state, *events)
            late = [await _shown(store, play) for play in plays]
        projected = [await _shown(store, play) for play in plays]

    assert late == projected
    assert [play["state"] for play, _ in late] == ["NEW", "DONE", "DONE", "DEFERRED"]
    assert [steps["total"] for _, steps in late] == [0, 5, 4, 2]


async def test_a_play_that_is_shown_already_is_shown_with_what_came_since(
    nats_url: str, database: str
) -> None:
    async with running_store(nats_url, database) as store:
        play, still = PlayLog(store.bus), PlayLog(store.bus)
        for each in (play, still):
            await each.request()
            await each.commit("RUN", started(), layer_done("a"))
        before, _ = await _shown(store, play)
        async with late_projection(database):
            await play.commit("DONE", layer_done("b", 1), m.PlayCompleted(at=at(3), state="DONE", out=7))
            after, steps = await _shown(store, play)
            other, _ = await _shown(store, still)

    assert (before["state"], after["state"], after["out"]) == ("RUN", "DONE", 7)
    assert [step["ref"] for step in steps["data"]] == ["a", "b"]
    assert (other["state"], other["out"]) == ("RUN", None)


async def test_an_answer_from_the_log_tells_how_far_it_reaches(nats_url: str, database: str) -> None:
    """So a list that is asked for next waits for as much."""
    async with running_store(nats_url, database) as store:
        play = PlayLog(store.bus)
        async with late_projection(database):
            last = await play.commit("DONE", *five_step_play())
            for kind in (GetPlay, ListPlayLayers):
                wish = kind(company_id=COMPANY, play_id=play.id, after={STREAM: last})
                reply = await rpc.call(store.bus, subjects.query("play"), wish, timeout_s=WITHIN_S)
                assert reply.sequences == {STREAM: last}


async def test_a_page_of_steps_is_cut_and_shortened_like_one_of_the_read_model(
    nats_url: str, database: str
) -> None:
    async with running_store(nats_url, database) as store:
        play = PlayLog(store.bus)
        async with late_projection(database):
            big = layer_done("big", 1, out="x" * (LISTED_VALUE_BYTES_MAX + 1))
            await play.commit("RUN", started(), layer_done("a"), big, layer_done("c", 2))
            _, page = await _shown(store, play, page=Page(1, 1))
            _, last = await _shown(store, play, page=Page(1, 2))
            _, named = await _shown(store, play, ref="big")

    (cut,), (whole,) = page["data"], named["data"]
    assert (cut["ref"], cut["out"], cut["outTruncated"], page["total"]) == ("big", None, True, 3)
    assert [step["ref"] for step in last["data"]] == ["c"]
    assert len(whole["out"]) > LISTED_VALUE_BYTES_MAX
    assert ("outTruncated" in whole, named["total"]) == (False, 1)


async def test_big_values_are_shown_whole(nats_url: str, database: str) -> None:
    async with running_store(nats_url, database) as store:
        play = PlayLog(store.bus)
        payloads = Payloads(store.bus, SystemClock(), inline_bytes_max=1_000)
        id, big = ids.commit_id(), {"text": "x" * 5_000}
        context = Context(source=source_of(COMPANY, play.flow_id), subject=play.id, correlation_id=play.id)
        events = [started(args=big), m.PlayCompleted(at=at(3), state="DONE", out=big)]
        async with late_projection(database):
            data = await payloads.encode_commit(events, commit_id=id, context=context)
            await store.bus.append(play.key.event("DONE"), data, id=id)
            shown, _ = await _shown(store, play)

    assert b"xxxxx" not in data
    assert (shown["args"], shown["out"]) == (big, big)


async def test_what_cannot_be_read_of_a_play_is_left_out(nats_url: str, database: str) -> None:
    async with running_store(nats_url, database) as store:
        play = PlayLog(store.bus)
        async with late_projection(database):
            await play.request(args={"n": 1})
            await store.bus.append(play.key.event("RUN"), b"no commit", id=ids.commit_id())
            shown, steps = await _shown(store, play)

    assert (shown["state"], shown["args"], steps["total"]) == ("NEW", {"n": 1}, 0)


async def test_a_history_that_is_too_long_is_not_read_for_one_answer(
    nats_url: str, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(late_plays, "COMMITS_MAX", 2)
    async with running_store(nats_url, database) as store:
        known = PlayLog(store.bus)
        await known.commit("RUN", started(), layer_done("a"))
        await _shown(store, known)
        new = PlayLog(store.bus)
        async with late_projection(database):
            for order in (1, 2):
                await known.commit("RUN", layer_done(f"s{order}", order))
            for order in range(3):
                await new.commit("RUN", layer_done(f"s{order}", order))
            _, steps = await _shown(store, known)
            with pytest.raises(Unavailable, match="accepted, and cannot be shown yet"):
                await _shown(store, new)

    assert steps["total"] == 1


async def test_nobody_sees_a_late_play_of_another_company(nats_url: str, database: str) -> None:
    async with running_store(nats_url, database) as store:
        play = PlayLog(store.bus, company_id="b" * 24)
        async with late_projection(database):
            await play.request()
            await play.commit("DONE", *five_step_play())
            with pytest.raises(NotFound, match=play.id) as caught:
                await _shown(store, play)

    assert caught.value.code == "PLAY_NOT_FOUND"
