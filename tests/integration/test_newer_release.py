"""A store shows all but what a newer release wrote, keeps that, and projects it once it is of that release."""

from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
import pytest

from libs.common import codec, ids, subjects
from libs.common.bus import Bus
from libs.common.errors import Unavailable
from libs.common.messages import flow as f
from libs.common.messages import play as m
from libs.common.messages.query import GetFlow, GetPlay, ListPlayLayers
from tests.integration.store_parts import (
    COMPANY,
    PlayLog,
    Store,
    at,
    create_flow,
    layer_done,
    rows,
    running_store,
    started,
)
from tests.waiting import eventually

STREAM = subjects.plays_stream(0)
HELD_ANEW = "headrace.play.held-anew.v1"
FLOW_PAINTED = "headrace.flow.painted.v1"


@contextmanager
def newer_release() -> Iterator[None]:
    """Be of a release that knows both made-up types."""
    with pytest.MonkeyPatch.context() as patch:
        for name, kind in ((HELD_ANEW, m.HoldRequested), (FLOW_PAINTED, f.FlowUpdated)):
            patch.setitem(codec._decoders, name, msgspec.json.Decoder(kind).decode)
        yield


async def _commit_of_a_newer_release(play: PlayLog, state: str, *events: m.Event) -> int:
    """Store a commit whose HoldRequested is of the made-up type."""
    known = codec.encode_commit(events, commit_id=ids.commit_id(), context=play._context())
    data = known.replace(b"headrace.play.hold-requested.v1", HELD_ANEW.encode())
    assert data != known
    return (await play.bus.append(play.key.event(state), data, id=ids.commit_id())).sequence


async def _shown(store: Store, play: PlayLog, sequence: int) -> tuple[dict[str, object], list[str]]:
    after = {STREAM: sequence}
    row = await store.query("play", GetPlay(company_id=COMPANY, play_id=play.id, after=after))
    steps = await store.query("play", ListPlayLayers(company_id=COMPANY, play_id=play.id, after=after))
    return row, [f"{step['ref']} {step['state']}" for step in steps["data"]]


async def _letters(database: str) -> list[str]:
    return [row["error"] for row in await rows(database, "select error from dead_letters order by sequence")]


async def test_a_play_is_shown_but_for_what_a_newer_release_said_and_whole_with_that_release(
    nats_url: str, database: str
) -> None:
    async with running_store(nats_url, database) as store:
        play = PlayLog(store.bus)
        await play.request(args={"n": 1})
        await play.commit("RUN", started(), layer_done("a"))
        hold = m.HoldRequested(at=at(3), by="somebody", note="new")
        await _commit_of_a_newer_release(play, "RUN", hold, layer_done("b", 1))
        later = PlayLog(store.bus)
        sequence = await later.commit("RUN", started(), layer_done("a"))
        seen, steps = await _shown(store, play, sequence)
        assert (seen["state"], seen["hold"], steps) == ("RUN", None, ["a DONE", "b DONE"])
        assert await _letters(database) == [f"newer release: unknown message type {HELD_ANEW}"]

        await store.stop()
        with newer_release():
            await store.start()

            async def projected() -> bool:
                return not await _letters(database)

            await eventually(projected)
            whole, again = await _shown(store, play, sequence)
            neighbour, _ = await _shown(store, later, sequence)
    assert again == steps
    assert isinstance(whole["hold"], dict)
    assert (whole["hold"]["by"], whole["hold"]["note"], whole["args"]) == ("somebody", "new", {"n": 1})
    assert {name for name in whole if whole[name] != seen[name]} == {"hold"}
    assert neighbour["state"] == "RUN"


async def test_a_play_whose_beginning_the_log_has_forgotten_keeps_its_rows(
    nats_url: str, database: str
) -> None:
    async with running_store(nats_url, database) as store:
        play = PlayLog(store.bus)
        await play.commit("RUN", started(args={"n": 1}), layer_done("a"))
        hold = m.HoldRequested(at=at(3), by="somebody")
        sequence = await _commit_of_a_newer_release(play, "WAIT", hold, layer_done("b", 1))
        await _shown(store, play, sequence)
        await store.stop()
        await store.bus.api(f"STREAM.PURGE.{STREAM}", {"filter": play.key.events, "keep": 1})
        with newer_release():
            await store.start()

            async def projected() -> bool:
                return not await _letters(database)

            await eventually(projected)
            whole, steps = await _shown(store, play, sequence)
    assert (whole["state"], whole["args"], steps) == ("WAIT", {"n": 1}, ["a DONE", "b DONE"])
    assert whole["hold"] is not None


async def test_a_definition_of_a_newer_release_is_answered_by_one_of_it(nats_url: str, database: str) -> None:
    async with running_store(nats_url, database) as store:
        flow = await store.command("flow", create_flow("Plain"))
        await _painted(store.bus, flow["id"])
        rename = f.UpdateFlow(
            id=ids.commit_id(),
            at=at(5),
            company_id=COMPANY,
            flow_id=flow["id"],
            fields=f.FlowFields(name="Mine"),
        )
        with pytest.raises(Unavailable, match="newer release"):
            await store.command("flow", rename)

        async def set_aside() -> bool:
            return len(await _letters(database)) == 1

        await eventually(set_aside)
        asked = GetFlow(company_id=COMPANY, flow_id=flow["id"])
        assert (await store.query("flow", asked))["name"] == "Plain"
        await store.stop()
        with newer_release():
            await store.start()

            async def painted() -> bool:
                return bool((await store.query("flow", asked))["name"] == "Painted")

            await eventually(painted)
        assert await _letters(database) == []


async def _painted(bus: Bus, flow_id: str) -> None:
    subject = subjects.definition("flow", COMPANY, flow_id)
    stored = await bus.last(subjects.DEFINITIONS, subject)
    assert stored is not None
    known = codec.decode_message(stored.data).data
    changed = f.FlowUpdated(at=known.at, flow=msgspec.structs.replace(known.flow, name="Painted", version=2))
    id = ids.commit_id()
    context = codec.Context(source=codec.source_of(COMPANY, flow_id), subject=flow_id)
    data = codec.encode_message(changed, id=id, context=context)
    await bus.append(subject, data.replace(b"headrace.flow.updated.v1", FLOW_PAINTED.encode()), id=id)
