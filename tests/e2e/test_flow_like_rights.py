"""Who may run the boards of an app, read its runs and end them (spec flow-like sections 2.2 and 11.3, FQ12)."""

from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import pytest

from tests.e2e.door import Door, refusal, registered
from tests.e2e.team import APPS, Team, made, remembered, shown_as
from tests.fixtures.system import RunningSystem
from tests.waiting import eventually

ADD = {"appId": "var", "ref": "sum", "index": 0, "args": {"values": {"gross": "{{ mul $prev.args.net 2 }}"}}}
SIGN = {"appId": "var", "ref": "sign", "index": 0, "needsApproval": True, "args": {"values": {"a": 1}}}
EXECUTE_BOARDS, READ_BOARDS, READ_LOGS, READ_TEAM = 512, 256, 32_768, 4


@pytest.fixture(scope="module")
def accounts() -> dict[str, Any]:
    """What the sign-ins of this module's team answered: a password takes its time to check."""
    return {}


@pytest.fixture
async def team(shared_system: RunningSystem, accounts: dict[str, Any]) -> AsyncIterator[Team]:
    """The team of this module."""
    async with remembered(shared_system, accounts) as team:
        yield team


class Shop(NamedTuple):
    """An app with a board that ends at once and one that waits."""

    app_id: str
    adds: str
    waits: str

    def calls(self, board: str) -> list[tuple[str, Any]]:
        """Return every way to run a board."""
        wish = {"app_id": self.app_id, "board_id": board, "payload": {"net": 21}}
        below = f"{APPS}/{self.app_id}/board/{board}/invoke"
        return [
            ("/api/v1/execution/run", wish), ("/api/v1/execution/run", {**wish, "mode": "sync"}),
            ("/jobs/submit", wish), (below, {}), (f"{below}/async", {}),
        ]  # fmt: skip


async def stocked(owner: Door, *steps: str) -> Shop:
    """Make an app that is seen so."""
    app = await made(owner)
    adds = await owner.create_flow("adds", ADD, groupId=app["id"])
    waits = await owner.create_flow("waits", SIGN, groupId=app["id"])
    await shown_as(owner, app["id"], *steps)
    return Shop(app["id"], adds["id"], waits["id"])


async def given(team: Team, app_id: str, permissions: int) -> str:
    """Make Bob a member with a role of these permissions and return the role."""
    role = await team.ada.put(f"{APPS}/{app_id}/roles/new", {"name": "Some", "permissions": permissions})
    await team.ada.call("PUT", f"{APPS}/{app_id}/team/invite", {"sub": team.bob_id})
    answer = await team.ada.call("POST", f"{APPS}/{app_id}/roles/{role['id']}/assign/{team.bob_id}")
    assert answer.status == 204, answer
    return str(role["id"])


async def seen(door: Door, path: str) -> bool:
    """Tell whether there is something here for this caller: read models follow the log."""
    return (await door.call("GET", path)).status == 200


class TestMembers:
    @pytest.mark.parametrize(
        ("steps", "status"),
        [((), 404), (("Prototype",), 404), (("Prototype", "Public"), 403)],
        ids=["Private", "Prototype", "Public"],
    )
    async def test_fq12_strangers_of_both_companies_do_not_run_boards(
        self, team: Team, steps: tuple[str, ...], status: int
    ) -> None:
        shop = await stocked(team.ada, *steps)
        if status == 403:
            await eventually(lambda: seen(team.eve, f"/api/v1/store/{shop.app_id}"))
        for door in (team.bob, team.eve):
            for path, wish in shop.calls(shop.adds):
                assert (await door.refused("POST", path, wish))[0] == status, path
        # By the app's name too, which never tells that there is one.
        named = {"app_id": "Invoices", "board_id": shop.adds}
        refused = await team.bob.refused("POST", "/jobs/submit", named)
        assert refused == ((403, "FORBIDDEN") if status == 403 else (404, "NOT_FOUND"))

    async def test_2_2_the_role_of_whoever_joins_runs_no_boards(self, team: Team) -> None:
        shop = await stocked(team.ada, "Prototype")
        await team.ada.call("PUT", f"{APPS}/{shop.app_id}/team/invite", {"sub": team.bob_id})
        for path, wish in shop.calls(shop.adds):
            assert await team.bob.refused("POST", path, wish) == (403, "FORBIDDEN"), path

    async def test_2_2_a_role_with_execute_boards_runs_them(self, team: Team) -> None:
        shop = await stocked(team.ada, "Prototype")
        await given(team, shop.app_id, EXECUTE_BOARDS)
        for path, wish in shop.calls(shop.adds):
            answer = await team.bob.call("POST", path, wish)
            assert answer.status == 200, (path, answer)

    async def test_2_2_who_is_removed_runs_no_more(self, team: Team) -> None:
        shop = await stocked(team.ada, "Prototype")
        await given(team, shop.app_id, EXECUTE_BOARDS)
        assert (await team.ada.call("DELETE", f"{APPS}/{shop.app_id}/team/{team.bob_id}")).status == 204
        for path, wish in shop.calls(shop.adds):
            assert await team.bob.refused("POST", path, wish) == (404, "NOT_FOUND"), path

    async def test_override_2_a_group_without_members_is_run_by_who_administers(self, team: Team) -> None:
        group = await team.ada.post("/api/groups", {"name": "Plain"}, status=201)
        flow = await team.ada.create_flow("adds", ADD, groupId=group["id"])
        wish = {"app_id": group["id"], "board_id": flow["id"]}
        assert (await team.ada.post("/jobs/submit", wish))["status"] == "queued"
        assert await team.bob.refused("POST", "/jobs/submit", wish) == (404, "NOT_FOUND")


class TestRuns:
    async def test_11_3_a_run_is_read_by_who_started_it_and_who_may_read_boards_or_logs(
        self, team: Team
    ) -> None:
        shop = await stocked(team.ada, "Prototype")
        wish = {"app_id": shop.app_id, "board_id": shop.adds, "mode": "sync", "payload": {"net": 1}}
        run = await team.ada.post("/api/v1/execution/run", wish)
        paths = [
            f"/api/v1/execution/{run['run_id']}", f"/api/v1/execution/run/{run['run_id']}", f"/jobs/{run['job_id']}",
        ]  # fmt: skip
        for path in paths:
            assert await team.bob.refused("GET", path) == (404, "NOT_FOUND"), path
        role = await given(team, shop.app_id, READ_TEAM)
        for path in paths:
            assert await team.bob.refused("GET", path) == (403, "FORBIDDEN"), path
        for permissions in (READ_BOARDS, READ_LOGS):
            change = {"name": "Some", "permissions": permissions}
            await team.ada.put(f"{APPS}/{shop.app_id}/roles/{role}", change)
            for path in paths:
                assert (await team.bob.call("GET", path)).status == 200, (path, permissions)

    async def test_11_3_who_may_run_boards_may_end_their_runs_and_nobody_else(self, team: Team) -> None:
        shop = await stocked(team.ada, "Prototype")
        wish = {"app_id": shop.app_id, "board_id": shop.waits}
        run = await team.ada.post("/api/v1/execution/run", wish)
        await team.ada.wait_for(run["run_id"], "WAIT")
        path = f"/api/v1/execution/{run['run_id']}/cancel"
        assert await team.bob.refused("POST", path) == (404, "NOT_FOUND")
        await given(team, shop.app_id, READ_BOARDS)
        assert await team.bob.refused("POST", path) == (403, "FORBIDDEN")
        assert await team.bob.refused("POST", f"/jobs/{run['job_id']}/cancel") == (403, "FORBIDDEN")
        assert await team.bob.refused("DELETE", f"/api/v1/execution/run/{run['run_id']}") == (
            403,
            "FORBIDDEN",
        )
        assert (await team.ada.get(f"/api/v1/execution/{run['run_id']}"))["status"] == "running"
        assert (await team.ada.post(path))["cancelled"] is True


class TestKeys:
    async def test_2_1_a_key_with_execute_boards_runs_reads_and_ends(
        self, team: Team, shared_system: RunningSystem
    ) -> None:
        shop, other = await stocked(team.ada), await stocked(team.ada)
        role = await team.ada.put(
            f"{APPS}/{shop.app_id}/roles/new", {"name": "Robot", "permissions": EXECUTE_BOARDS}
        )
        key = await team.ada.put(f"{APPS}/{shop.app_id}/api", {"name": "ci", "role_id": role["id"]})
        sent = {"X-API-Key": key["api_key"]}
        async with Door(shared_system.base_url) as program:
            for path, wish in shop.calls(shop.adds):
                answer = await program.call("POST", path, wish, headers=sent)
                assert answer.status == 200, (path, answer)
            wish = {"app_id": shop.app_id, "board_id": shop.waits}
            run = (await program.call("POST", "/jobs/submit", wish, headers=sent)).json
            play_id = run["job_id"].removeprefix("job-")
            await team.ada.wait_for(play_id, "WAIT")
            job = await program.call("GET", f"/jobs/{run['job_id']}", headers=sent)
            assert job.json["status"] == "running"
            shown = await program.call("GET", f"/api/v1/execution/{play_id}", headers=sent)
            assert shown.json["app_id"] == shop.app_id
            for path, wish in other.calls(other.adds):
                answer = await program.call("POST", path, wish, headers=sent)
                assert refusal(answer) == (404, "NOT_FOUND"), path
            mixed = {"app_id": shop.app_id, "board_id": other.adds}
            answer = await program.call("POST", "/jobs/submit", mixed, headers=sent)
            assert refusal(answer) == (404, "NOT_FOUND")
            foreign = await team.ada.post("/jobs/submit", {"app_id": other.app_id, "board_id": other.waits})
            answer = await program.call("GET", f"/jobs/{foreign['job_id']}", headers=sent)
            assert refusal(answer) == (404, "NOT_FOUND")
            answer = await program.call("POST", f"/jobs/{foreign['job_id']}/cancel", headers=sent)
            assert refusal(answer) == (404, "NOT_FOUND")
            assert (await program.call("POST", f"/jobs/{run['job_id']}/cancel", headers=sent)).status == 204

    async def test_2_1_a_key_of_the_default_role_runs_no_boards(
        self, team: Team, shared_system: RunningSystem
    ) -> None:
        shop = await stocked(team.ada)
        key = await team.ada.put(f"{APPS}/{shop.app_id}/api", {"name": "reads"})
        async with Door(shared_system.base_url) as program:
            for path, wish in shop.calls(shop.adds):
                answer = await program.call("POST", path, wish, headers={"X-API-Key": key["api_key"]})
                assert refusal(answer) == (403, "FORBIDDEN"), path

    async def test_11_2_the_installation_itself_runs_what_the_first_company_has(
        self, worker_system: RunningSystem
    ) -> None:
        async with Door(worker_system.base_url) as admin:
            signed = {"email": worker_system.email, "password": worker_system.password}
            admin.take(await admin.post("/api/v1/auth/login", signed))
            shop = await stocked(admin)
            async with Door(worker_system.base_url) as nobody:
                headers = {"Content-Type": "application/json"}
                wish = {"app_id": shop.app_id, "board_id": shop.adds, "payload": {"net": 1}, "mode": "sync"}
                answer = await nobody.call("POST", "/jobs/submit", wish, headers=headers)
                assert (answer.status, answer.json["output"]) == (200, {"gross": 2})
                assert (await nobody.get(f"/jobs/{answer.json['job_id']}"))["status"] == "completed"


async def test_11_3_other_companies_see_nothing_of_a_run(team: Team, shared_system: RunningSystem) -> None:
    shop = await stocked(team.ada)
    run = await team.ada.post("/jobs/submit", {"app_id": shop.app_id, "board_id": shop.waits})
    async with registered(shared_system) as other:
        assert await other.refused("GET", f"/jobs/{run['job_id']}") == (404, "NOT_FOUND")
        assert await other.refused("POST", f"/jobs/{run['job_id']}/cancel") == (404, "NOT_FOUND")
