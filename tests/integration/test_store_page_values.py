"""Pages of plays and steps stay small whatever their values weigh; the answer about one of them has it whole."""

import pytest

from libs.common import subjects
from libs.common.bus import Bus
from libs.common.errors import TooLarge
from libs.common.messages import play as m
from libs.common.messages.query import GetPlay, ListPlayLayers, ListPlays, Page
from services.store import page_values
from tests.integration.store_parts import COMPANY, PlayLog, Store, at, layer_done, running_store, started

STREAM = subjects.plays_stream(0)
BIG = "x" * (page_values.LISTED_VALUE_BYTES_MAX + 1)
MIDDLE = "x" * (page_values.LISTED_BYTES_MAX // 9)


async def ended(bus: Bus, play: PlayLog, out: object) -> dict[str, int]:
    """Store the end of a play with this output; return how far the log is then."""
    return {STREAM: await play.commit("DONE", started(), m.PlayCompleted(at=at(3), state="DONE", out=out))}


async def test_a_page_of_plays_leaves_out_what_is_big(nats_url: str, database: str) -> None:
    async with running_store(nats_url, database) as store:
        play, small = PlayLog(store.bus), PlayLog(store.bus)
        await play.request(args={"n": 1})
        await ended(store.bus, small, "little")
        after = await ended(store.bus, play, BIG)
        page = await store.query("play", ListPlays(company_id=COMPANY, after=after))
        shown = {row["id"]: row for row in page["data"]}
        whole = await store.query("play", GetPlay(company_id=COMPANY, play_id=play.id, after=after))
    assert (shown[play.id]["out"], shown[play.id]["outTruncated"], shown[play.id]["args"]) == (
        None,
        True,
        {"n": 1},
    )
    assert shown[small.id]["out"] == "little"
    assert not {"outTruncated", "argsTruncated"} & {*shown[small.id], *whole}
    assert whole["out"] == BIG


async def a_play_of_many_outputs(store: Store, out: str, count: int) -> tuple[str, dict[str, int]]:
    play, sequence = PlayLog(store.bus), await store.bus.last_sequence(STREAM)
    for n in range(count):
        done = layer_done("body", 1, out=out, iteration=(n,))
        sequence = await play.commit("RUN", *([started()] if n == 0 else []), done)
    sequence = await play.commit("RUN", layer_done("last", 2, out="little"))
    return play.id, {STREAM: sequence}


async def test_a_page_of_steps_holds_so_much_in_all(nats_url: str, database: str) -> None:
    async with running_store(nats_url, database) as store:
        id, after = await a_play_of_many_outputs(store, MIDDLE, 10)
        page = await store.query("play", ListPlayLayers(company_id=COMPANY, play_id=id, after=after))
        last = ListPlayLayers(company_id=COMPANY, play_id=id, after=after, ref="body")
        named = await store.query("play", last)
    kept = [step.get("outTruncated", False) for step in page["data"]]
    # Quotes count as well, so the ninth does not fit.
    assert kept == [False] * 8 + [True] * 2 + [False]
    assert page["data"][-1]["out"] == "little"
    assert {step["out"] for step in named["data"]} == {MIDDLE}


async def test_the_first_step_on_a_page_of_one_is_whole(nats_url: str, database: str) -> None:
    async with running_store(nats_url, database) as store:
        id, after = await a_play_of_many_outputs(store, BIG, 3)
        ask = ListPlayLayers(company_id=COMPANY, play_id=id, after=after, ref="body", page=Page(2, 1))
        (shown,) = (await store.query("play", ask))["data"]
    assert (shown["iteration"], shown["out"]) == (2, BIG)


async def test_an_answer_that_cannot_be_carried_is_refused_with_its_size(
    nats_url: str, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("libs.common.rpc.ANSWER_BYTES_MAX", 1_000_000)
    async with running_store(nats_url, database) as store:
        play = PlayLog(store.bus)
        after = await ended(store.bus, play, BIG)
        with pytest.raises(
            TooLarge, match=r"the answer has 10\d{5} bytes, and at most 1000000 can be carried"
        ):
            await store.query("play", GetPlay(company_id=COMPANY, play_id=play.id, after=after))
