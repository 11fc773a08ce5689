"""Apps of the second surface (spec flow-like sections 4.3, 5 and 11.3, overrides 1, 2 and 5)."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.e2e.door import Door, refusal, registered
from tests.e2e.team import APPS, Team, colleague, made, remembered, shown_as
from tests.fixtures.system import RunningSystem

STEP = {"ref": "sum", "appId": "var", "args": {"values": {"gross": 119}}}
USER_BITS = 534_528


@pytest.fixture
async def team(shared_system: RunningSystem) -> AsyncIterator[Team]:
    """Two users of a new company, and one of another."""
    async with (
        registered(shared_system, name="Ada") as ada,
        colleague(shared_system, ada) as bob,
        registered(shared_system, name="Eve") as eve,
    ):
        yield Team(ada, bob, eve)


@pytest.fixture(scope="module")
def accounts() -> dict[str, Any]:
    """What the sign-ins of this module's shared team answered: a password takes its time to check."""
    return {}


@pytest.fixture
async def crew(shared_system: RunningSystem, accounts: dict[str, Any]) -> AsyncIterator[Team]:
    """A team that the tests of this module share, with the apps that they leave."""
    async with remembered(shared_system, accounts) as team:
        yield team


class TestCrud:
    async def test_11_3_post_makes_a_private_app_with_three_roles_and_its_owner(self, crew: Team) -> None:
        answer = await crew.ada.call(
            "POST", APPS, {"name": "Invoices", "description": "Counts", "tags": ["a"]}
        )
        app = answer.json
        assert (answer.status, answer.headers["Location"]) == (201, f"{APPS}/{app['id']}")
        assert (app["name"], app["description"], app["visibility"]) == ("Invoices", "Counts", "Private")
        assert app["authors"] == [crew.ada.account["user"]["id"]]
        default, roles = await crew.ada.get(f"{APPS}/{app['id']}/roles")
        assert [(role["name"], role["permissions"]) for role in roles] == [
            ("Owner", 1),
            ("Admin", 2),
            ("User", USER_BITS),
        ]
        assert default == roles[2]["id"]

    async def test_11_3_post_takes_app_and_meta_too(self, crew: Team) -> None:
        wish = {
            "app": {"version": "1.0", "price": 5},
            "meta": {"name": "Nested", "tags": ["x"]},
            "bits": ["b"],
        }
        app = await crew.ada.post(APPS, wish, status=201)
        assert (app["name"], app["version"], app["price"], app["bits"]) == ("Nested", "1.0", 5, ["b"])

    @pytest.mark.parametrize(
        "wish",
        [{}, {"name": ""}, {"name": 7}, {"name": "x", "price": -1}, {"name": "x", "status": "Gone"}, []],
    )
    async def test_11_3_post_that_does_not_fit_is_400(self, crew: Team, wish: Any) -> None:
        assert await crew.ada.refused("POST", APPS, wish) == (400, "BAD_REQUEST")

    async def test_11_3_get_lists_pairs_of_member_apps_newest_change_first(self, team: Team) -> None:
        first, second = await made(team.ada, "One"), await made(team.ada, "Two")
        await team.ada.put(f"{APPS}/{first['id']}", {"description": "changed"})
        answer = await team.ada.call("GET", APPS)
        assert answer.headers["X-Total-Count"] == "2"
        assert [(app["id"], meta["name"]) for app, meta in answer.json] == [
            (first["id"], "One"),
            (second["id"], "Two"),
        ]
        assert [app["id"] for app, _ in await team.ada.get(f"{APPS}?limit=1&offset=1")] == [second["id"]]
        assert await team.bob.get(APPS) == []
        assert await team.ada.refused("GET", f"{APPS}?limit=x") == (400, "BAD_REQUEST")

    async def test_11_3_put_changes_what_is_named_and_nothing_else(self, crew: Team) -> None:
        app = await made(crew.ada, description="Old", tags=["a"])
        wish = {"version": "2.0", "primary_category": "Finance", "visibility": "Public", "id": "0" * 24}
        after = await crew.ada.put(f"{APPS}/{app['id']}", wish)
        assert after == await crew.ada.get(f"{APPS}/{app['id']}")
        changed = {name for name in app if app[name] != after[name]} - {"updated_at"}
        assert changed == {"version", "primary_category"}

    async def test_11_3_put_of_an_unknown_id_makes_an_app_when_it_has_a_name(self, crew: Team) -> None:
        app = await crew.ada.put(f"{APPS}/new", {"meta": {"name": "From the web"}, "bits": []})
        assert (await crew.ada.get(f"{APPS}/{app['id']}"))["name"] == "From the web"
        assert await crew.ada.refused("PUT", f"{APPS}/new", {"version": "1"}) == (404, "NOT_FOUND")
        assert await crew.ada.refused("PUT", f"{APPS}/{'0' * 24}", {}) == (404, "NOT_FOUND")

    async def test_11_3_delete_is_204_and_then_404(self, team: Team) -> None:
        app = await made(team.ada)
        flow = await team.ada.create_flow("Board", STEP, groupId=app["id"])
        assert (await team.ada.call("DELETE", f"{APPS}/{app['id']}")).status == 204
        assert await team.ada.refused("DELETE", f"{APPS}/{app['id']}") == (404, "NOT_FOUND")
        assert await team.ada.refused("GET", f"{APPS}/{app['id']}") == (404, "NOT_FOUND")
        assert (await team.ada.call("GET", f"/api/flows/{flow['id']}")).status == 404
        assert await team.ada.get(APPS) == []

    async def test_11_2_without_a_token_401(self, shared_system: RunningSystem) -> None:
        async with Door(shared_system.base_url) as door:
            for method, path in (("GET", APPS), ("POST", APPS), ("GET", f"{APPS}/{'0' * 24}")):
                assert await door.refused(method, path, {"name": "x"}) == (401, "UNAUTHORIZED")


class TestGroup:
    async def test_override_2_an_app_is_the_group_of_its_id_and_boards_are_its_flows(
        self, team: Team
    ) -> None:
        app = await made(team.ada)
        groups = (await team.ada.get("/api/groups"))["data"]
        assert [(group["id"], group["name"]) for group in groups] == [(app["id"], "Invoices")]
        flow = await team.ada.create_flow("Board", STEP, groupId=app["id"])
        assert (await team.ada.get(f"{APPS}/{app['id']}"))["boards"] == [flow["id"]]

    async def test_override_2_a_name_changed_at_either_door_is_seen_at_both(self, team: Team) -> None:
        app = await made(team.ada)
        await team.ada.put(f"{APPS}/{app['id']}", {"name": "Bills"})
        assert (await team.ada.get("/api/groups"))["data"][0]["name"] == "Bills"
        await team.ada.put(f"/api/groups/{app['id']}", {"name": "Receipts"})
        assert (await team.ada.get(f"{APPS}/{app['id']}"))["name"] == "Receipts"

    async def test_override_2_a_group_is_an_app_of_whoever_administers_the_company(self, team: Team) -> None:
        group = await team.ada.post("/api/groups", {"name": "Finance"}, status=201)
        assert [meta["name"] for _, meta in await team.ada.get(APPS)] == ["Finance"]
        assert await team.bob.refused("GET", f"{APPS}/{group['id']}") == (404, "NOT_FOUND")
        assert (await team.ada.put(f"{APPS}/{group['id']}", {"version": "1"}))["version"] == "1"
        assert (await team.ada.call("DELETE", f"{APPS}/{group['id']}")).status == 204
        assert (await team.ada.get("/api/groups"))["data"] == []

    async def test_override_2_deleting_the_group_deletes_the_app(self, team: Team) -> None:
        app = await made(team.ada)
        await team.ada.delete(f"/api/groups/{app['id']}")
        assert await team.ada.refused("GET", f"{APPS}/{app['id']}") == (404, "NOT_FOUND")


class TestMeta:
    async def test_5_1_each_language_has_words_of_its_own(self, team: Team) -> None:
        app = await made(team.ada, description="Counts")
        path = f"{APPS}/{app['id']}/meta"
        german = await team.ada.put(f"{path}?language=de", {"name": "Rechnungen", "age_rating": 6})
        assert (german["name"], german["age_rating"]) == ("Rechnungen", 6)
        assert (await team.ada.get(f"{path}?language=de"))["name"] == "Rechnungen"
        assert (await team.ada.get(f"{path}?language=fr"))["name"] == "Invoices"
        assert (await team.ada.get(f"{APPS}/{app['id']}?language=de"))["name"] == "Rechnungen"
        assert (await team.ada.get("/api/groups"))["data"][0]["name"] == "Invoices"

    @pytest.mark.parametrize(
        ("language", "wish"),
        [
            ("de", {"description": "no name yet"}),
            ("not a tag", {"name": "x"}),
            ("en", {"tags": "a"}),
            ("en", {"name": 1}),
        ],
    )
    async def test_5_1_what_does_not_fit_is_400(self, crew: Team, language: str, wish: Any) -> None:
        app = await made(crew.ada)
        path = f"{APPS}/{app['id']}/meta?language={language.replace(' ', '%20')}"
        assert await crew.ada.refused("PUT", path, wish) == (400, "BAD_REQUEST")


class TestVisibility:
    @pytest.mark.parametrize(
        ("steps", "wanted", "status"),
        [
            ((), "Prototype", 200),
            (("Prototype",), "Private", 200),
            (("Prototype",), "Public", 200),
            (("Prototype",), "PublicRequestAccess", 200),
            (("Prototype", "Public"), "PublicRequestAccess", 200),
            (("Prototype", "PublicRequestAccess"), "Public", 200),
            (("Prototype", "Public"), "Public", 200),
            ((), "Public", 403),
            ((), "Offline", 403),
            (("Prototype", "Public"), "Prototype", 403),
            (("Prototype", "Public"), "Private", 403),
        ],
    )
    async def test_5_4_transitions(
        self, crew: Team, steps: tuple[str, ...], wanted: str, status: int
    ) -> None:
        app = await made(crew.ada)
        await shown_as(crew.ada, app["id"], *steps)
        answer = await crew.ada.call("PATCH", f"{APPS}/{app['id']}/visibility", {"visibility": wanted})
        assert answer.status == status, answer
        seen = (await crew.ada.get(f"{APPS}/{app['id']}"))["visibility"]
        assert seen == (wanted if status == 200 else (*steps, "Private")[len(steps) - 1 if steps else 0])

    async def test_5_4_to_private_removes_all_other_members(self, crew: Team) -> None:
        app = await made(crew.ada)
        await shown_as(crew.ada, app["id"], "Prototype")
        invited = await crew.ada.call("PUT", f"{APPS}/{app['id']}/team/invite", {"sub": crew.bob_id})
        assert invited.status == 204
        assert (await crew.bob.get(f"{APPS}/{app['id']}"))["id"] == app["id"]
        await shown_as(crew.ada, app["id"], "Private")
        assert await crew.bob.refused("GET", f"{APPS}/{app['id']}") == (404, "NOT_FOUND")


class TestTeam:
    async def test_4_3_a_role_is_made_given_and_deleted(self, crew: Team) -> None:
        app = await made(crew.ada)
        path = f"{APPS}/{app['id']}"
        await shown_as(crew.ada, app["id"], "Prototype")
        role = await crew.ada.put(f"{path}/roles/new", {"name": "Writer", "permissions": 128 + 4})
        await crew.ada.call("PUT", f"{path}/team/invite", {"sub": crew.bob_id})
        assert await crew.bob.refused("PUT", f"{path}/meta", {"description": "b"}) == (403, "FORBIDDEN")
        assert (await crew.ada.call("POST", f"{path}/roles/{role['id']}/assign/{crew.bob_id}")).status == 204
        assert (await crew.bob.put(f"{path}/meta", {"description": "b"}))["description"] == "b"
        assert await crew.bob.refused("PUT", path, {"version": "9"}) == (403, "FORBIDDEN")
        assert len(await crew.bob.get(f"{path}/team")) == 2
        assert (await crew.ada.call("DELETE", f"{path}/roles/{role['id']}")).status == 204
        assert await crew.bob.refused("GET", f"{path}/team") == (403, "FORBIDDEN")

    async def test_4_3_the_owners_role_is_handed_over_and_nobody_gives_themself_one(self, crew: Team) -> None:
        app = await made(crew.ada)
        path = f"{APPS}/{app['id']}"
        await shown_as(crew.ada, app["id"], "Prototype")
        await crew.ada.call("PUT", f"{path}/team/invite", {"sub": crew.bob_id})
        _, (owner, admin, _) = await crew.ada.get(f"{path}/roles")
        own = f"{path}/roles/{admin['id']}/assign/{crew.ada.account['user']['id']}"
        assert await crew.ada.refused("POST", own) == (403, "FORBIDDEN")
        assert (await crew.ada.call("POST", f"{path}/roles/{owner['id']}/assign/{crew.bob_id}")).status == 204
        assert (await crew.bob.get(path))["authors"] == [crew.bob_id]
        assert await crew.ada.refused("DELETE", path) == (403, "FORBIDDEN")
        assert (await crew.ada.put(path, {"version": "still an admin"}))["version"] == "still an admin"
        assert (await crew.bob.call("DELETE", path)).status == 204

    @pytest.mark.parametrize(
        "wish", [{"name": "x", "permissions": 1}, {"name": "x", "permissions": 0}, {"permissions": 4}]
    )
    async def test_4_3_a_role_that_does_not_fit_is_400(self, crew: Team, wish: Any) -> None:
        app = await made(crew.ada)
        path = f"{APPS}/{app['id']}/roles/new"
        assert await crew.ada.refused("PUT", path, wish) == (400, "BAD_REQUEST")

    async def test_4_3_who_joins_a_public_app_is_in_at_once(self, team: Team) -> None:
        app = await made(team.ada)
        path = f"{APPS}/{app['id']}"
        await shown_as(team.ada, app["id"], "Prototype", "Public")
        assert (await team.bob.call("PUT", f"{path}/team/queue")).status == 204
        assert [pair[0]["id"] for pair in await team.bob.get(APPS)] == [app["id"]]
        assert (await team.bob.call("DELETE", f"{path}/team/{team.bob_id}")).status == 204
        assert await team.bob.get(APPS) == []

    async def test_4_3_who_asks_waits_to_be_admitted(self, team: Team) -> None:
        app = await made(team.ada)
        path = f"{APPS}/{app['id']}"
        await shown_as(team.ada, app["id"], "Prototype", "PublicRequestAccess")
        assert (await team.bob.call("PUT", f"{path}/team/queue", {"message": "please"})).status == 204
        (entry,) = await team.ada.get(f"{path}/team/queue")
        assert (entry["user_id"], entry["message"]) == (team.bob_id, "please")
        assert await team.bob.refused("GET", f"{path}/team/queue") == (403, "FORBIDDEN")
        assert (await team.ada.call("DELETE", f"{path}/team/queue/{entry['id']}")).status == 204
        assert await team.bob.get(APPS) == []
        await team.bob.call("PUT", f"{path}/team/queue")
        (entry,) = await team.ada.get(f"{path}/team/queue")
        assert (await team.ada.call("POST", f"{path}/team/queue/{entry['id']}")).status == 204
        assert len(await team.bob.get(APPS)) == 1


class TestKeys:
    async def test_4_3_a_key_reads_its_app_and_nothing_else(
        self, crew: Team, shared_system: RunningSystem
    ) -> None:
        app, other = await made(crew.ada), await made(crew.ada, "Other")
        path = f"{APPS}/{app['id']}"
        key = await crew.ada.put(f"{path}/api", {"name": "ci", "valid_until": 4_102_444_800})
        assert key["api_key"].startswith(f"flk_{app['id']}.{key['id']}.")
        assert key["role_name"] == "User"
        (listed,) = await crew.ada.get(f"{path}/api")
        assert listed["valid_until"] == "2100-01-01T00:00:00Z"
        assert set(listed) == {"id", "name", "description", "role_id", "created_at", "valid_until"}
        sent = {"X-API-Key": key["api_key"]}
        async with Door(shared_system.base_url) as program:
            assert (await program.call("GET", path, headers=sent)).json["id"] == app["id"]
            foreign = await program.call("GET", f"{APPS}/{other['id']}", headers=sent)
            assert refusal(foreign) == (404, "NOT_FOUND")
            for method, kept in (("GET", APPS), ("DELETE", path), ("GET", "/api/v1/user")):
                assert refusal(await program.call(method, kept, headers=sent)) == (403, "FORBIDDEN")
            assert (await program.call("GET", "/api/flows", headers=sent)).status == 403
            assert (await crew.ada.call("DELETE", f"{path}/api/{key['id']}")).status == 204
            assert refusal(await program.call("GET", path, headers=sent)) == (401, "UNAUTHORIZED")
        assert await crew.ada.get(f"{path}/api") == []

    async def test_4_3_a_key_never_holds_the_owners_role(self, crew: Team) -> None:
        app = await made(crew.ada)
        _, (owner, *_) = await crew.ada.get(f"{APPS}/{app['id']}/roles")
        wish = {"name": "all", "role_id": owner["id"]}
        assert await crew.ada.refused("PUT", f"{APPS}/{app['id']}/api", wish) == (403, "FORBIDDEN")

    @pytest.mark.parametrize("wish", [{}, {"name": ""}, {"name": "x", "valid_until": 1}])
    async def test_4_3_a_key_that_does_not_fit_is_400(self, crew: Team, wish: Any) -> None:
        app = await made(crew.ada)
        assert await crew.ada.refused("PUT", f"{APPS}/{app['id']}/api", wish) == (400, "BAD_REQUEST")


# Each endpoint of an app with a body that fits: what a stranger of the same company is answered, by who may see it.
ROLE, NOBODY = "0" * 24, "1" * 24
ENDPOINTS: list[tuple[str, str, Any]] = [
    ("GET", "", None),
    ("PUT", "", {"version": "x"}),
    ("DELETE", "", None),
    ("PATCH", "/visibility", {"visibility": "Prototype"}),
    ("GET", "/meta", None),
    ("PUT", "/meta", {"description": "x"}),
    ("GET", "/roles", None),
    ("PUT", "/roles/new", {"name": "x", "permissions": 4}),
    ("DELETE", f"/roles/{ROLE}", None),
    ("PUT", f"/roles/{ROLE}/default", None),
    ("POST", f"/roles/{ROLE}/assign/{NOBODY}", None),
    ("GET", "/team", None),
    ("PUT", "/team/invite", {"sub": NOBODY}),
    ("DELETE", f"/team/{NOBODY}", None),
    ("GET", "/team/queue", None),
    ("POST", f"/team/queue/{NOBODY}", None),
    ("DELETE", f"/team/queue/{NOBODY}", None),
    ("GET", "/api", None),
    ("PUT", "/api", {"name": "x"}),
    ("DELETE", f"/api/{NOBODY}", None),
]
OPEN_WHEN_LISTED = {("GET", ""), ("GET", "/meta")}
LEVELS = {"Private": (), "Prototype": ("Prototype",), "Public": ("Prototype", "Public")}
# What the role of whoever joins lets them do here: to look.
MEMBER_MAY = OPEN_WHEN_LISTED


class TestMatrix:
    @pytest.mark.parametrize("level", LEVELS)
    async def test_fq12_strangers_of_both_companies(self, crew: Team, level: str) -> None:
        app = await made(crew.ada)
        await shown_as(crew.ada, app["id"], *LEVELS[level])
        hidden = level != "Public"
        for door in (crew.bob, crew.eve):
            for method, below, body in ENDPOINTS:
                answer = await door.call(method, f"{APPS}/{app['id']}{below}", body)
                if not hidden and (method, below) in OPEN_WHEN_LISTED:
                    assert answer.status == 200, (method, below, answer)
                else:
                    wanted = (404, "NOT_FOUND") if hidden else (403, "FORBIDDEN")
                    assert refusal(answer) == wanted, (method, below, answer)
        assert (await crew.ada.get(f"{APPS}/{app['id']}"))["version"] is None

    @pytest.mark.parametrize("level", ["Prototype", "Public"])
    async def test_2_2_members_with_the_default_role(self, crew: Team, level: str) -> None:
        app = await made(crew.ada)
        await shown_as(crew.ada, app["id"], *LEVELS[level])
        await crew.ada.call("PUT", f"{APPS}/{app['id']}/team/invite", {"sub": crew.bob_id})
        for method, below, body in ENDPOINTS:
            answer = await crew.bob.call(method, f"{APPS}/{app['id']}{below}", body)
            if (method, below) in MEMBER_MAY:
                assert answer.status == 200, (method, below, answer)
            else:
                assert refusal(answer) == (403, "FORBIDDEN"), (method, below, answer)

    @pytest.mark.parametrize("level", LEVELS)
    async def test_2_2_owners_may_everything(self, crew: Team, level: str) -> None:
        app = await made(crew.ada)
        await shown_as(crew.ada, app["id"], *LEVELS[level])
        for method, below, body in ENDPOINTS:
            if method != "DELETE" or below:
                answer = await crew.ada.call(method, f"{APPS}/{app['id']}{below}", body)
                named_nobody = ROLE in below or NOBODY in below or below == "/team/invite"
                expected = {404, 403} if named_nobody or below == "/visibility" else {200, 204}
                assert answer.status in expected | ({200} if below == "/visibility" else set()), (
                    method,
                    below,
                    answer,
                )
        assert (await crew.ada.call("DELETE", f"{APPS}/{app['id']}")).status == 204
