"""Starting plays without a store, and waiting for their end."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from libs.common import codec, ids, subjects
from libs.common.bus import Message
from libs.common.messages import play as m
from libs.common.messages.flow import Execution
from services.gateway import lines
from tests.e2e.api import Api, Json
from tests.integration.gateway.conftest import COMPANY, FLOW, LAYER, NOW, SLUG, USER, Log, started, whole
from tests.waiting import eventually

OTHER = "e" * 24


async def _command(log: Log, play_id: str) -> m.StartPlay:
    stored = await log.bus.last(subjects.plays_stream(0), f"cmd.play.0.{COMPANY}.{FLOW}.{play_id}.start")
    assert stored is not None
    command: m.StartPlay = codec.decode_message(stored.data).data
    return command


async def _execute(log: Log, then: Callable[[str], Awaitable[object]]) -> None:
    """Do this with the id of each play that is started from now on."""
    tasks = set()

    def received(message: Message) -> None:
        task = asyncio.ensure_future(then(subjects.tail(message.subject)[0]))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    await log.bus.subscribe(subjects.shard_starts(0), received)
    # The subscription is at the server before anything else of this connection is.
    await log.bus.last_sequence(subjects.plays_stream(0))


async def test_a_run_puts_a_command_in_the_log(api: Api, log: Log) -> None:
    sequence = await log.flow(version=4)
    answer = await api.run(FLOW, {"n": [1, {"a": None}]})
    command = await _command(log, answer["playId"])
    assert (answer["state"], ids.is_id(answer["playId"])) == ("RUN", True)
    assert answer["startedAt"] == command.at.strftime("%Y-%m-%dT%H:%M:%SZ")
    assert (command.definition, command.flow_version, command.args) == (sequence, 4, {"n": [1, {"a": None}]})
    assert (command.by, command.trigger, len(command.seed)) == (USER, "api", 32)


async def test_a_body_is_optional(api: Api, log: Log) -> None:
    answer = await api.run(FLOW)
    assert (await _command(log, answer["playId"])).args == {}


async def test_a_flow_is_also_known_by_its_permanent_id(api: Api) -> None:
    assert (await api.run(SLUG))["state"] == "RUN"


@pytest.mark.parametrize("flow", ["0" * 24, "nope", "NOPE", "x" * 500, "a.b", "*", ">", "%20", "f" * 23])
async def test_an_unknown_flow_is_404(api: Api, flow: str) -> None:
    assert await api.refused("POST", f"/api/flows/{flow}/run") == (404, "FLOW_NOT_FOUND")


async def test_the_newest_definition_runs(api: Api, log: Log) -> None:
    await api.run(FLOW)
    sequence = await log.flow(version=2)

    async def follows() -> bool:
        return (await _command(log, (await api.run(FLOW))["playId"])).definition == sequence

    await eventually(follows)


async def test_a_deleted_flow_is_404(api: Api, log: Log) -> None:
    await api.run(FLOW)
    await log.flow(deleted=True)

    async def gone() -> bool:
        return (await api.call("POST", f"/api/flows/{FLOW}/run")).status == 404

    await eventually(gone)


async def test_a_disabled_flow_runs_only_by_force(api: Api, log: Log) -> None:
    await log.flow(OTHER, enabled=False)
    assert await api.refused("POST", f"/api/flows/{OTHER}/run") == (409, "FLOW_DISABLED")
    assert (await api.run(OTHER, force=True))["state"] == "RUN"


async def test_a_run_that_a_limit_may_hold_back_is_new_while_nobody_has_decided_it(
    api: Api, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "FIRST_COMMIT_WAIT_S", 0.1)
    await log.flow(OTHER, execution=Execution(max_concurrent=1))
    answer = await api.run(OTHER)
    assert (answer["state"], answer["startedAt"]) == ("NEW", None)
    waited = await api.run(OTHER, wait=1)
    assert (waited["state"], waited["startedAt"]) == ("NEW", None)


async def test_a_caller_may_wait_for_the_end(api: Api, log: Log) -> None:
    await _execute(log, lambda play_id: log.commit(play_id, "DONE", *whole({"x": 1})))
    answer = await api.run(FLOW, wait=60)
    assert (answer["state"], answer["out"], answer["error"], answer["duration"]) == (
        "DONE",
        {"x": 1},
        None,
        250,
    )
    assert answer["completedAt"].endswith("Z")


async def test_a_header_may_ask_to_wait(api: Api, log: Log) -> None:
    await _execute(log, lambda play_id: log.commit(play_id, "DONE", *whole()))
    answer = await api.call("POST", f"/api/flows/{FLOW}/run", headers={"Prefer": "wait=60"})
    assert (answer.json["state"], answer.headers["Preference-Applied"]) == ("DONE", "wait=60")


async def test_a_failure_is_told_to_who_waits(api: Api, log: Log) -> None:
    end = m.PlayFailed(at=NOW, error="no such host", error_code="MODULE_ERROR", started_at=NOW)
    await _execute(log, lambda play_id: log.commit(play_id, "FAIL", started(), end))
    answer = await api.run(FLOW, wait=60)
    assert (answer["state"], answer["error"], answer["errorCode"]) == ("FAIL", "no such host", "MODULE_ERROR")


async def test_who_waits_is_told_that_a_play_parks(api: Api, log: Log) -> None:
    gate = m.LayerWaiting(at=NOW, ref="a", layer_id=LAYER, kind="approval")
    parked = m.PlayWaiting(at=NOW, wait_id="w")
    await _execute(log, lambda play_id: log.commit(play_id, "WAIT", started(), gate, parked))
    answer = await api.run(FLOW, wait=60)
    assert set(answer) == {"playId", "state", "startedAt"}
    assert answer["state"] == "WAIT"


async def test_a_wait_ends_when_its_time_is_over(api: Api) -> None:
    answer = await api.run(FLOW, wait=0.05)
    assert (set(answer), answer["state"]) == ({"playId", "state", "startedAt"}, "RUN")


async def test_an_end_whose_message_was_lost_is_found_in_the_stream(api: Api, log: Log) -> None:
    # Stored under a subject that is not republished to the flow's waiters: they can only look.
    await _execute(log, lambda play_id: _unheard(log, play_id))
    answer = await api.run(FLOW, wait=60)
    assert answer["state"] == "DONE"


async def _unheard(log: Log, play_id: str) -> None:
    config = await log.bus.api("STREAM.INFO.PLAYS_0")
    silent = {key: value for key, value in config["config"].items() if key != "republish"}
    assert "error" not in await log.bus.api("STREAM.UPDATE.PLAYS_0", silent)
    await log.commit(play_id, "DONE", *whole())


@pytest.mark.parametrize("wait", ["61", "-1", "x"])
async def test_nobody_waits_longer_than_a_minute(api: Api, wait: str) -> None:
    assert await api.refused("POST", f"/api/flows/{FLOW}/run?wait={wait}") == (400, "VALIDATION_ERROR")


@pytest.mark.parametrize("key", [5, ["a"], "x" * 256])
async def test_an_idempotency_key_is_a_short_text(api: Api, key: Json) -> None:
    refusal = await api.refused("POST", f"/api/flows/{FLOW}/run", {"idempotencyKey": key})
    assert refusal == (400, "VALIDATION_ERROR")


async def test_an_answer_tells_how_far_the_log_is(api: Api, log: Log) -> None:
    answer = await api.call("POST", f"/api/flows/{FLOW}/run")
    assert answer.headers["Headrace-Sequence"] == f"PLAYS_0={await log.bus.last_sequence('PLAYS_0')}"
