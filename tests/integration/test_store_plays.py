"""Questions about plays: filters, pages, isolation, and waiting for what the asker knows."""

import asyncio

import pytest

from libs.common import ids, subjects
from libs.common.errors import NotFound
from libs.common.messages.query import GetPlay, ListPlayLayers, ListPlays, Page
from tests.integration.store_parts import (
    COMPANY,
    PlayLog,
    Store,
    at,
    config_of,
    create_flow,
    five_step_play,
    running_store,
    started,
)
from tests.waiting import eventually

STREAM = subjects.plays_stream(0)
HOSTILE = 'quote " backslash \\ nul \0 line \u2028 smile 😀 </script>'


async def test_lists_are_filtered_and_paged_newest_first(nats_url: str, database: str) -> None:
    async with running_store(nats_url, database) as store:
        flow = await store.command("flow", create_flow("Nightly"))
        plays = []
        for n in range(6):
            play = PlayLog(store.bus, flow_id=flow["id"] if n < 4 else "")
            await play.request(at=at(n * 60))
            sequence = await play.commit("DONE" if n % 2 else "FAIL", *five_step_play())
            plays.append(play.id)
        foreign = PlayLog(store.bus, company_id="b" * 24, flow_id=flow["id"])
        after = {STREAM: await foreign.commit("DONE", *five_step_play())}

        async def listed(**more: object) -> tuple[list[int], int]:
            ask = ListPlays(company_id=COMPANY, after=after, **more)  # type: ignore[arg-type]
            found = await store.query("play", ask)
            return [plays.index(row["id"]) for row in found["data"]], found["total"]

        assert await listed() == ([5, 4, 3, 2, 1, 0], 6)
        assert await listed(page=Page(1, 4)) == ([1, 0], 6)
        assert await listed(page=Page(7, 4)) == ([], 6)
        assert await listed(flow_id=flow["id"]) == ([3, 2, 1, 0], 4)
        assert await listed(flow_id="nightly", state="FAIL") == ([2, 0], 2)
        assert await listed(state="DONE") == ([5, 3, 1], 3)
        assert await listed(from_at=at(60), to_at=at(180)) == ([2, 1], 2)
        assert await listed(flow_id="no-such-flow") == ([], 0)
        assert await listed(state="\0") == ([], 0)
        assert sequence < after[STREAM]


async def test_a_play_of_another_company_is_not_found(nats_url: str, database: str) -> None:
    async with running_store(nats_url, database) as store:
        play = PlayLog(store.bus, company_id="b" * 24)
        after = {STREAM: await play.commit("DONE", *five_step_play())}
        for kind in (GetPlay, ListPlayLayers):
            with pytest.raises(NotFound, match=play.id) as caught:
                await store.query("play", kind(company_id=COMPANY, play_id=play.id, after=after))
            assert caught.value.code == "PLAY_NOT_FOUND"


async def test_an_unknown_play_is_not_found_without_a_wait(nats_url: str, database: str) -> None:
    async with running_store(nats_url, database) as store:
        for play_id in (ids.new_id(), "x", "*", "a.b", "\0" * 24):
            with pytest.raises(NotFound):
                await store.query("play", GetPlay(company_id=COMPANY, play_id=play_id))


async def test_hostile_text_comes_back_as_it_went_in(nats_url: str, database: str) -> None:
    async with running_store(nats_url, database) as store:
        play = PlayLog(store.bus)
        args = {HOSTILE: [HOSTILE, 1.5, -0.0, 2**60, None, {"deep": [[]]}]}
        await play.request(args=args)
        shown = await store.query("play", GetPlay(company_id=COMPANY, play_id=play.id))

    assert shown["args"] == args


async def test_a_large_output_is_shown_whole(nats_url: str, database: str) -> None:
    async with running_store(nats_url, database) as store:
        play = PlayLog(store.bus)
        end = five_step_play()[-1]
        big = {"text": "x" * 3_000_000}
        await play.commit("DONE", started(), type(end)(at=end.at, state="DONE", out=big))  # type: ignore[call-arg]
        sequence = await store.bus.last_sequence(STREAM)
        ask = GetPlay(company_id=COMPANY, play_id=play.id, after={STREAM: sequence})
        shown = await store.query("play", ask)

    assert shown["out"] == big


async def test_a_commit_without_its_start_command_is_shown_from_what_it_says(
    nats_url: str, database: str
) -> None:
    async with running_store(nats_url, database) as store:
        play = PlayLog(store.bus)
        after = {STREAM: await play.commit("RUN", started(args={"a": 1}))}
        shown = await store.query("play", GetPlay(company_id=COMPANY, play_id=play.id, after=after))

    assert (shown["state"], shown["args"]) == ("RUN", {"a": 1})
    assert shown["createdAt"] == "2026-01-02T03:04:05Z"
    assert shown["startedAt"] == "2026-01-02T03:04:06Z"


async def test_a_store_comes_up_once_postgres_does(nats_url: str, database: str) -> None:
    config = config_of(nats_url, database.replace("headrace_test", "not_there_headrace_test"))
    async with running_store(nats_url, database) as other:
        late = Store(config, other.bus)
        await late.start(ready=False)

        async def says_why() -> bool:
            return "does not exist" in (await late.health.problems()).get("store", "")

        await eventually(says_why)
        assert "migrations" in await late.health.problems()
        await late.stop()


async def test_a_query_does_not_wait_for_ever_for_what_never_comes(nats_url: str, database: str) -> None:
    async with running_store(nats_url, database) as store:
        async with asyncio.timeout(60):
            found = await store.query("play", ListPlays(company_id=COMPANY, after={STREAM: 10**9}))
        assert found == {"data": [], "total": 0}
