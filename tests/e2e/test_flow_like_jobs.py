"""Jobs of the second surface, over plays (spec flow-like section 11.3, Jobs)."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import pytest

from tests.e2e.api import Answer, Api
from tests.e2e.door import Door, refusal, registered
from tests.fixtures.system import RunningSystem
from tests.waiting import eventually

FIELDS = {"job_id", "status", "started_at", "completed_at", "error"}
JSON = {"Content-Type": "application/json"}
ADD = {"appId": "var", "ref": "sum", "index": 0, "args": {"values": {"gross": "{{ mul $prev.args.net 2 }}"}}}
SIGN = {"appId": "var", "ref": "sign", "index": 0, "needsApproval": True, "args": {"values": {"a": 1}}}
BREAK = {"appId": "json-parse", "ref": "broken", "index": 0, "args": {"input": "{"}}


class Shop(NamedTuple):
    """An app of the first company with a board that adds, one that waits and one that fails."""

    app_id: str
    adds: str
    waits: str
    breaks: str


class Caller(Api):
    """A program that sends no credential, and says that it sends JSON."""

    async def submit(self, **fields: Any) -> Answer:
        """Submit a job and return whatever is answered."""
        return await self.call("POST", "/jobs/submit", fields, headers=JSON)

    async def job(self, **fields: Any) -> str:
        """Submit a job that must be taken, and return its id."""
        answer = await self.submit(**fields)
        assert answer.status == 200, answer
        return str(answer.json["job_id"])

    async def until(self, job_id: str, *words: str) -> Any:
        """Poll a job until it is called one of these, and return it."""

        async def reached() -> Any:
            job = await self.get(f"/jobs/{job_id}")
            return job if job["status"] in words else None

        return await eventually(reached, within_s=60)


async def stocked(api: Api, name: str) -> Shop:
    """Make the app of these tests."""
    group = await api.post("/api/groups", {"name": name}, status=201)
    boards = [
        (await api.create_flow(f"{name} {words}", layer, groupId=group["id"]))["id"]
        for words, layer in (("adds", ADD), ("waits", SIGN), ("breaks", BREAK))
    ]
    return Shop(group["id"], *boards)


@pytest.fixture
async def shop(worker_system: RunningSystem) -> Shop:
    async with Api.logged_in(worker_system) as api:
        return await stocked(api, "shop")


@pytest.fixture
async def caller(worker_system: RunningSystem) -> AsyncIterator[Caller]:
    async with Caller(worker_system.base_url) as caller:
        yield caller


class TestSubmit:
    async def test_the_two_ids_suffice_and_the_answer_is_queued(self, caller: Caller, shop: Shop) -> None:
        answer = await caller.submit(app_id=shop.app_id, board_id=shop.waits)
        assert answer.status == 200
        assert set(answer.json) == {"job_id", "status"}
        assert answer.json["status"] == "queued"
        assert answer.json["job_id"].startswith("job-")

    async def test_a_job_is_the_play_of_the_same_id(
        self, caller: Caller, shop: Shop, worker_system: RunningSystem
    ) -> None:
        job_id = await caller.job(app_id=shop.app_id, board_id=shop.adds, payload={"net": 21})
        async with Api.logged_in(worker_system) as api:
            play = await api.wait_for(job_id.removeprefix("job-"), "DONE")
        assert (play["out"], play["trigger"]) == ({"gross": 42}, "job")
        assert (await caller.get(f"/jobs/{play['id']}"))["job_id"] == job_id

    async def test_a_payload_that_is_no_object_stands_in_payload(
        self, caller: Caller, shop: Shop, worker_system: RunningSystem
    ) -> None:
        job_id = await caller.job(app_id=shop.app_id, board_id=shop.waits, payload=[1, 2])
        async with Api.logged_in(worker_system) as api:
            play = await api.wait_for(job_id.removeprefix("job-"), "WAIT")
        assert play["args"] == {"payload": [1, 2]}

    @pytest.mark.parametrize("version", ["latest", None, "0.0.{n}", "v0_0_{n}", [0, 0, "{n}"], "{n}"])
    async def test_every_spelling_of_the_version_is_taken(
        self, caller: Caller, shop: Shop, worker_system: RunningSystem, version: Any
    ) -> None:
        async with Api.logged_in(worker_system) as api:
            number = (await api.get(f"/api/flows/{shop.adds}"))["version"]
        if isinstance(version, str):
            version = version.format(n=number)
        elif version is not None:
            version = [0, 0, number]
        answer = await caller.submit(app_id=shop.app_id, board_id=shop.adds, version=version)
        assert answer.status == 200, answer

    async def test_an_older_version_runs_as_it_was(
        self, caller: Caller, shop: Shop, worker_system: RunningSystem
    ) -> None:
        async with Api.logged_in(worker_system) as api:
            old = (await api.get(f"/api/flows/{shop.adds}"))["version"]
            await api.add_layer(shop.adds, ref="more", appId="var", index=1, args={"values": {"more": 1}})
        wish = {"app_id": shop.app_id, "board_id": shop.adds, "payload": {"net": 1}, "mode": "sync"}
        assert (await caller.submit(**wish, version=f"0.0.{old}")).json["output"] == {"gross": 2}
        assert (await caller.submit(**wish)).json["output"] == {"more": 1}

    @pytest.mark.parametrize(
        ("wrong", "status"),
        [
            ({"board_id": "x"}, 400), ({"app_id": "x"}, 400), ({"app_id": 7, "board_id": "x"}, 400),
            ({"app_id": "", "board_id": "x"}, 400), ({"app_id": "x", "board_id": "no-such-board"}, 404),
        ],
    )  # fmt: skip
    async def test_missing_and_unknown_ids_are_refused(
        self, caller: Caller, wrong: dict[str, Any], status: int
    ) -> None:
        assert refusal(await caller.submit(**wrong))[0] == status

    @pytest.mark.parametrize(
        ("more", "status", "word"),
        [
            ({"mode": "fast"}, 400, "mode"), ({"mode": "stream"}, 400, "mode"), ({"version": "new"}, 400, "version"),
            ({"version": {}}, 400, "version"), ({"version": "1.2.3"}, 404, "version"),
            ({"version": "0.0.999"}, 404, "version"), ({"node_id": "nobody"}, 400, "sum"),
            ({"event_id": "e1"}, 404, "event"), ({"runtime_variables": {"v": {}}}, 400, "runtime_variables"),
        ],
    )  # fmt: skip
    async def test_what_does_not_fit_is_refused_by_name(
        self, caller: Caller, shop: Shop, more: dict[str, Any], status: int, word: str
    ) -> None:
        answer = await caller.submit(app_id=shop.app_id, board_id=shop.adds, **more)
        assert refusal(answer)[0] == status
        assert word in answer.json["error"]["message"]

    async def test_a_board_of_another_app_is_404(
        self, caller: Caller, shop: Shop, worker_system: RunningSystem
    ) -> None:
        async with Api.logged_in(worker_system) as api:
            other = await api.post("/api/groups", {"name": "other"}, status=201)
        answer = await caller.submit(app_id=other["id"], board_id=shop.adds)
        assert refusal(answer) == (404, "NOT_FOUND")

    async def test_a_disabled_board_is_409(
        self, caller: Caller, shop: Shop, worker_system: RunningSystem
    ) -> None:
        async with Api.logged_in(worker_system) as api:
            await api.put(f"/api/flows/{shop.adds}", {"enabled": False})
        assert refusal(await caller.submit(app_id=shop.app_id, board_id=shop.adds)) == (409, "CONFLICT")

    @pytest.mark.parametrize("mode", ["ASYNC", "pool", "standard", "warm", "local"])
    async def test_modes_of_the_pool_answer_at_once(self, caller: Caller, shop: Shop, mode: str) -> None:
        answer = await caller.submit(app_id=shop.app_id, board_id=shop.waits, mode=mode)
        assert (answer.status, answer.json["status"]) == (200, "queued")

    async def test_isolated_runs_what_can_be_in_processes_of_its_own(
        self, caller: Caller, shop: Shop, worker_system: RunningSystem
    ) -> None:
        read = {"appId": "json-parse", "ref": "read", "index": 0, "args": {"input": "{{ $prev.args.text }}"}}
        async with Api.logged_in(worker_system) as api:
            board = await api.create_flow("reads", read, groupId=shop.app_id)
            wish = {"app_id": shop.app_id, "board_id": board["id"], "mode": "isolated"}
            job_id = await caller.job(**wish, payload={"text": "[1, 2]"})
            job = await caller.until(job_id, "completed", "failed")
            assert job["error"] is None
            assert (await api.get(f"/api/plays/{job_id.removeprefix('job-')}"))["out"] == {"result": [1, 2]}
            broken = await caller.until(await caller.job(**wish, payload={"text": "{"}), "failed")
            assert "not valid JSON" in broken["error"]

    async def test_sync_answers_with_the_output(self, caller: Caller, shop: Shop) -> None:
        answer = await caller.submit(
            app_id=shop.app_id, board_id=shop.adds, payload={"net": 4}, mode="Sync", node_id="sum"
        )
        assert (answer.json["status"], answer.json["output"]) == ("completed", {"gross": 8})

    async def test_sync_that_waits_for_a_person_answers_as_async(self, caller: Caller, shop: Shop) -> None:
        answer = await caller.submit(app_id=shop.app_id, board_id=shop.waits, mode="sync")
        assert (set(answer.json), answer.json["status"]) == ({"job_id", "status"}, "running")

    async def test_the_same_key_starts_one_job(
        self, caller: Caller, shop: Shop, worker_system: RunningSystem
    ) -> None:
        headers = {**JSON, "Idempotency-Key": "order-1"}
        body = {"app_id": shop.app_id, "board_id": shop.adds, "payload": {"net": 1}}
        answers = await asyncio.gather(
            *(caller.call("POST", "/jobs/submit", body, headers=headers) for _ in range(4))
        )
        assert len({answer.json["job_id"] for answer in answers}) == 1
        async with Api.logged_in(worker_system) as api:
            await caller.until(answers[0].json["job_id"], "completed")
            assert (await api.get(f"/api/flows/{shop.adds}/plays"))["total"] == 1


class TestStatus:
    async def test_a_job_has_these_five_fields_always(self, caller: Caller, shop: Shop) -> None:
        job_id = await caller.job(app_id=shop.app_id, board_id=shop.waits)
        job = await caller.until(job_id, "running")
        assert set(job) == FIELDS
        assert (job["completed_at"], job["error"]) == (None, None)
        assert job["started_at"].endswith("Z")

    async def test_a_failed_job_says_why(self, caller: Caller, shop: Shop) -> None:
        job_id = await caller.job(app_id=shop.app_id, board_id=shop.breaks)
        job = await caller.until(job_id, "failed")
        assert "not valid JSON" in job["error"]
        assert job["completed_at"]

    @pytest.mark.parametrize("job_id", ["job-abc123", "job-", "x", "job-" + "0" * 24, "0" * 24])
    async def test_an_unknown_job_is_404(self, caller: Caller, job_id: str) -> None:
        assert refusal(await caller.call("GET", f"/jobs/{job_id}")) == (404, "NOT_FOUND")
        assert refusal(await caller.call("POST", f"/jobs/{job_id}/cancel")) == (404, "NOT_FOUND")

    async def test_a_declined_job_is_cancelled(
        self, caller: Caller, shop: Shop, worker_system: RunningSystem
    ) -> None:
        job_id = await caller.job(app_id=shop.app_id, board_id=shop.waits)
        await caller.until(job_id, "running")
        async with Api.logged_in(worker_system) as api:
            play_id = job_id.removeprefix("job-")
            await api.wait_for(play_id, "WAIT")
            await api.post(f"/api/plays/{play_id}/approve", {"layerId": "sign", "decision": "declined"})
        assert (await caller.until(job_id, "cancelled", "failed"))["status"] == "cancelled"


class TestCancel:
    async def test_a_running_job_is_cancelled_and_stays_readable(self, caller: Caller, shop: Shop) -> None:
        job_id = await caller.job(app_id=shop.app_id, board_id=shop.waits)
        await caller.until(job_id, "running")
        answer = await caller.call("POST", f"/jobs/{job_id}/cancel")
        assert (answer.status, answer.json) == (204, None)
        assert (await caller.get(f"/jobs/{job_id}"))["status"] == "cancelled"

    async def test_an_ended_job_stays_as_it_is(self, caller: Caller, shop: Shop) -> None:
        job_id = await caller.job(app_id=shop.app_id, board_id=shop.adds, payload={"net": 1})
        before = await caller.until(job_id, "completed")
        assert (await caller.call("POST", f"/jobs/{job_id}/cancel")).status == 204
        assert await caller.get(f"/jobs/{job_id}") == before


class TestWhoMayCall:
    @pytest.mark.parametrize(
        ("headers", "refused"),
        [
            ({"Origin": "https://evil.test"}, (403, "FORBIDDEN")),
            ({"Origin": "null"}, (403, "FORBIDDEN")),
            ({"Sec-Fetch-Site": "cross-site"}, (403, "FORBIDDEN")),
            ({"Host": "rebound.test"}, (401, "UNAUTHORIZED")),
            ({"X-Forwarded-For": "192.0.2.1"}, (401, "UNAUTHORIZED")),
            ({"Forwarded": "for=192.0.2.1"}, (401, "UNAUTHORIZED")),
            ({"Via": "1.1 proxy"}, (401, "UNAUTHORIZED")),
            ({"Content-Type": "text/plain"}, (400, "BAD_REQUEST")),
            ({"Content-Type": "application/x-www-form-urlencoded"}, (400, "BAD_REQUEST")),
            ({"Authorization": "Bearer nonsense"}, (401, "UNAUTHORIZED")),
            ({"X-API-Key": "flk_x"}, (401, "UNAUTHORIZED")),
            ({"Cookie": "sid=nonsense"}, (401, "UNAUTHORIZED")),
        ],
    )
    async def test_fq4_loopback_is_for_programs_of_this_machine(
        self, caller: Caller, shop: Shop, headers: dict[str, str], refused: tuple[int, str]
    ) -> None:
        body = {"app_id": shop.app_id, "board_id": shop.adds}
        answer = await caller.call("POST", "/jobs/submit", body, headers={**JSON, **headers})
        assert refusal(answer) == refused
        assert "Access-Control-Allow-Origin" not in answer.headers

    async def test_fq4_a_token_is_its_users_and_sees_their_company_alone(
        self, caller: Caller, shop: Shop, worker_system: RunningSystem
    ) -> None:
        async with registered(worker_system) as door:
            wish = {"app_id": shop.app_id, "board_id": shop.adds}
            assert await door.refused("POST", "/jobs/submit", wish) == (404, "NOT_FOUND")
            own = await stocked(door, "own")
            job = await door.post("/jobs/submit", {"app_id": "own", "board_id": own.waits})
            assert (await door.get(f"/jobs/{job['job_id']}"))["job_id"] == job["job_id"]
        for method, path in (("GET", ""), ("POST", "/cancel")):
            answer = await caller.call(method, f"/jobs/{job['job_id']}{path}")
            assert refusal(answer) == (404, "NOT_FOUND")

    async def test_fq4_a_token_without_the_permission_is_403(self, worker_system: RunningSystem) -> None:
        async with registered(worker_system) as door:
            pat = (await door.put("/api/v1/user/pat", {"name": "bills", "permissions": 32}))["pat"]
        async with Door(worker_system.base_url, pat) as door:
            assert await door.refused("GET", f"/jobs/job-{'0' * 24}") == (403, "FORBIDDEN")
