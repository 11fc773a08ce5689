"""Executions and the catalogue of the second surface (spec flow-like sections 8, 9.1 and 11.3)."""

import json
from typing import Any, NamedTuple

import pytest

from tests.e2e.api import Answer
from tests.e2e.door import Door, registered
from tests.fixtures.system import RunningSystem

SHOWN = {
    "run_id", "job_id", "app_id", "board_id", "event_id", "status", "mode", "progress", "current_step", "error",
    "input_payload_len", "output_payload_len", "output", "started_at", "completed_at", "created_at", "id", "result",
}  # fmt: skip
ADD = {"appId": "var", "ref": "sum", "index": 0, "args": {"values": {"gross": "{{ mul $prev.args.net 2 }}"}}}
SIGN = {"appId": "var", "ref": "sign", "index": 1, "needsApproval": True, "args": {"values": {"a": 1}}}
RUN = "/api/v1/execution/run"


class App(NamedTuple):
    """An app with a board that ends at once and one that waits for an approval."""

    app_id: str
    adds: str
    waits: str

    def wish(self, **more: Any) -> dict[str, Any]:
        """Return the body that runs the board which ends at once."""
        return {"app_id": self.app_id, "board_id": self.adds, "payload": {"net": 21}, **more}


async def stocked(door: Door) -> App:
    """Make the app of these tests for this caller."""
    group = await door.post("/api/groups", {"name": "billing"}, status=201)
    adds = await door.create_flow("adds", ADD, groupId=group["id"])
    waits = await door.create_flow("waits", ADD, SIGN, groupId=group["id"])
    return App(group["id"], adds["id"], waits["id"])


def events_in(answer: Answer) -> list[tuple[str, Any]]:
    """Return type and payload of each event of a stream."""
    data = [line.removeprefix("data: ") for line in answer.json.splitlines() if line.startswith("data: ")]
    return [(event["event_type"], event["payload"]) for event in map(json.loads, data)]


class TestRun:
    async def test_async_answers_at_once_and_the_run_can_be_read_by_both_ids(
        self, shared_system: RunningSystem
    ) -> None:
        async with registered(shared_system) as door:
            app = await stocked(door)
            run = await door.post(RUN, app.wish())
            assert set(run) == {"run_id", "job_id", "status", "poll_token", "backend"}
            assert (run["status"], run["job_id"]) == ("pending", f"job-{run['run_id']}")
            await door.wait_for(run["run_id"], "DONE")
            shown = await door.get(f"/api/v1/execution/{run['run_id']}")
            assert await door.get(f"/api/v1/execution/{run['job_id']}") == shown
            titled = await door.get(f"/api/v1/execution/run/{run['run_id']}")
        assert set(shown) == SHOWN
        assert (shown["status"], shown["mode"], shown["progress"]) == ("completed", "async", 100)
        assert shown["output"] == shown["result"] == {"gross": 42}
        assert (shown["app_id"], shown["board_id"]) == (app.app_id, app.adds)
        assert titled == {**shown, "status": "Completed"}

    async def test_sync_answers_with_output_and_times(self, shared_system: RunningSystem) -> None:
        async with registered(shared_system) as door:
            app = await stocked(door)
            run = await door.post(RUN, app.wish(mode="sync"))
            assert (run["status"], run["output"], run["error"]) == ("completed", {"gross": 42}, None)
            assert None not in (run["started_at"], run["completed_at"])
            wish = {"app_id": app.app_id, "board_id": app.adds, "input": {"net": 1}, "mode": "sync"}
            assert (await door.post(RUN, wish))["output"] == {"gross": 2}

    @pytest.mark.parametrize("asked", ["mode", "accept", "invoke"])
    async def test_a_stream_tells_the_run_from_beginning_to_end(
        self, shared_system: RunningSystem, asked: str
    ) -> None:
        async with registered(shared_system) as door:
            app = await stocked(door)
            path, body, headers = RUN, app.wish(), dict[str, str]()
            if asked == "mode":
                body["mode"] = "stream"
            elif asked == "accept":
                headers["Accept"] = "text/event-stream"
            else:
                path, body = f"/api/v1/apps/{app.app_id}/board/{app.adds}/invoke", {"payload": {"net": 21}}
            answer = await door.call("POST", path, body, headers=headers)
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        told = events_in(answer)
        run_id = told[0][1]["run_id"]
        assert [kind for kind, _ in told] == [
            "run_initiated", f"run:{run_id}", f"run:{run_id}", "generic_result", "completed",
        ]  # fmt: skip
        assert told[3][1] == {"gross": 42}
        assert told[4][1]["status"] == "completed"

    async def test_without_stream_state_nothing_is_said_of_nodes(self, shared_system: RunningSystem) -> None:
        async with registered(shared_system) as door:
            app = await stocked(door)
            answer = await door.call("POST", RUN, app.wish(mode="stream", stream_state=False))
        assert [kind for kind, _ in events_in(answer)] == ["run_initiated", "generic_result", "completed"]

    async def test_what_does_not_fit_is_refused(self, shared_system: RunningSystem) -> None:
        async with registered(shared_system) as door:
            app = await stocked(door)
            for more, refused in (
                ({"app_id": None}, (400, "BAD_REQUEST")), ({"board_id": None}, (400, "BAD_REQUEST")),
                ({"mode": "fast"}, (400, "BAD_REQUEST")), ({"timeout_s": 61}, (400, "BAD_REQUEST")),
                ({"board_id": "nope"}, (404, "NOT_FOUND")), ({"app_id": "nope"}, (404, "NOT_FOUND")),
                ({"event_id": "e"}, (404, "NOT_FOUND")),
            ):  # fmt: skip
                assert await door.refused("POST", RUN, app.wish(**more)) == refused, more
            invoke = f"/api/v1/apps/{app.app_id}/board/nope/invoke/async"
            assert await door.refused("POST", invoke, {}) == (404, "NOT_FOUND")

    async def test_without_a_token_401_and_of_another_company_404(self, shared_system: RunningSystem) -> None:
        async with registered(shared_system) as door:
            app = await stocked(door)
            run = await door.post(RUN, app.wish(mode="sync"))
        path = f"/api/v1/execution/{run['run_id']}"
        async with Door(shared_system.base_url) as stranger:
            assert await stranger.refused("POST", RUN, app.wish()) == (401, "UNAUTHORIZED")
            assert await stranger.refused("GET", path) == (401, "UNAUTHORIZED")
        async with registered(shared_system) as other:
            assert await other.refused("POST", RUN, app.wish()) == (404, "NOT_FOUND")
            assert await other.refused("GET", path) == (404, "NOT_FOUND")
            assert await other.refused("POST", f"{path}/cancel") == (404, "NOT_FOUND")

    async def test_a_running_run_shows_its_step_and_can_be_cancelled(
        self, shared_system: RunningSystem
    ) -> None:
        async with registered(shared_system) as door:
            app = await stocked(door)
            run = await door.post(RUN, app.wish(board_id=app.waits))
            await door.wait_for(run["run_id"], "WAIT")
            shown = await door.get(f"/api/v1/execution/{run['run_id']}")
            assert (shown["status"], shown["progress"], shown["current_step"]) == ("running", 50, "sign")
            cancelled = {"run_id": run["run_id"], "status": "cancelled", "cancelled": True}
            assert await door.post(f"/api/v1/execution/{run['run_id']}/cancel") == cancelled
            assert await door.delete(f"/api/v1/execution/run/{run['run_id']}") == cancelled


class TestPoll:
    async def test_a_poll_tells_each_event_once_and_then_that_it_is_done(
        self, shared_system: RunningSystem
    ) -> None:
        async with registered(shared_system) as door:
            app = await stocked(door)
            run = await door.post(RUN, app.wish())
            await door.wait_for(run["run_id"], "DONE")
        path = f"/api/v1/execution/poll?poll_token={run['poll_token']}"
        async with Door(shared_system.base_url) as stranger:
            first = await stranger.get(f"{path}&timeout=5")
            later = await stranger.get(f"{path}&after_sequence={first['events'][0]['sequence']}")
        assert (first["run_id"], first["status"], first["done"]) == (run["run_id"], "Completed", True)
        assert first["events"][-1]["event_type"] == "completed"
        assert later["events"] == first["events"][1:]

    async def test_a_poll_waits_for_what_happens_next(self, shared_system: RunningSystem) -> None:
        async with registered(shared_system) as door:
            app = await stocked(door)
            run = await door.post(RUN, app.wish(board_id=app.waits))
            await door.wait_for(run["run_id"], "WAIT")
        async with Door(shared_system.base_url, run["poll_token"]) as bearer:
            first = await bearer.get("/api/v1/execution/poll")
            assert (first["status"], first["done"]) == ("Running", False)
            assert first["events"][-1]["event_type"] == "interaction_request"
            after = first["events"][-1]["sequence"]
            empty = await bearer.get(f"/api/v1/execution/poll?after_sequence={after}&timeout=0")
            assert (empty["events"], empty["done"]) == ([], False)

    async def test_a_token_that_was_touched_is_401(self, shared_system: RunningSystem) -> None:
        async with registered(shared_system) as door:
            app = await stocked(door)
            first, other = [await door.post(RUN, app.wish()) for _ in range(2)]
        good = first["poll_token"].split(".")
        wrong = [
            "", "x", ".".join([*good[:2], other["run_id"], *good[3:]]),
            ".".join([*good[:3], str(int(good[3]) + 1), good[4]]), ".".join([*good[:4], "0" * 64]),
        ]  # fmt: skip
        async with Door(shared_system.base_url) as stranger:
            for token in wrong:
                path = f"/api/v1/execution/poll?poll_token={token}"
                assert await stranger.refused("GET", path) == (401, "UNAUTHORIZED"), token
            assert await stranger.refused("GET", "/api/v1/execution/poll") == (401, "UNAUTHORIZED")


class TestCatalog:
    async def test_modules_are_nodes_with_pins_of_their_args_and_outputs(
        self, shared_system: RunningSystem
    ) -> None:
        async with Door(shared_system.base_url) as stranger:
            node = await stranger.get("/api/v1/catalog/json-stringify")
            answer = await stranger.call("GET", "/api/v1/catalog")
            assert await stranger.get("/api/v1/apps/nodes") == answer.json
        pins = {pin["name"]: pin for pin in node["pins"].values()}
        assert {name: (pin["pin_type"], pin["data_type"]) for name, pin in pins.items()} == {
            "input": ("Input", "Generic"), "indent": ("Input", "Integer"), "result": ("Output", "String"),
        }  # fmt: skip
        assert bytes(pins["indent"]["default_value"]) == b"0"
        assert pins["indent"]["options"]["range"][0] == 0
        assert all(pin["id"] == place for place, pin in node["pins"].items())
        assert node in answer.json
        assert int(answer.headers["X-Total-Count"]) == len(answer.json) > 40

    async def test_an_effect_has_execution_pins(self, shared_system: RunningSystem) -> None:
        async with Door(shared_system.base_url) as stranger:
            node = await stranger.get("/api/v1/catalog/kv-get")
        kinds = {pin["name"]: pin["data_type"] for pin in node["pins"].values()}
        assert kinds["exec_in"] == kinds["exec_out"] == "Execution"

    async def test_category_search_limit_and_offset_narrow_it_down(
        self, shared_system: RunningSystem
    ) -> None:
        async with Door(shared_system.base_url) as stranger:
            kv = await stranger.get("/api/v1/catalog?category=kv")
            page = await stranger.call("GET", "/api/v1/catalog?category=KV&limit=2&offset=1")
            found = await stranger.get("/api/v1/catalog?search=JSON-PARSE")
            assert await stranger.refused("GET", "/api/v1/catalog?limit=0") == (400, "BAD_REQUEST")
            assert await stranger.refused("GET", "/api/v1/catalog/nope") == (404, "NOT_FOUND")
        assert {node["category"] for node in kv} == {"Kv"}
        assert page.json == kv[1:3]
        assert page.headers["X-Total-Count"] == str(len(kv))
        assert [node["name"] for node in found] == ["json-parse"]

    async def test_what_is_known_already_is_304(self, shared_system: RunningSystem) -> None:
        async with Door(shared_system.base_url) as stranger:
            first = await stranger.call("GET", "/api/v1/catalog")
            known = {"If-None-Match": first.headers["ETag"]}
            again = await stranger.call("GET", "/api/v1/catalog/", headers=known)
            other = await stranger.call("GET", "/api/v1/catalog?limit=1", headers=known)
        assert (again.status, again.json, other.status) == (304, None, 200)
