"""Users (spec flow8 section 20): made, changed and locked out by admins; passwords set and changed."""

import asyncio

import pytest

from tests.e2e.api import Api, Json
from tests.e2e.companies import neighbour
from tests.fixtures.system import RunningSystem

PASSWORD = "quite-a-long-one"


async def make(api: Api, email: str, role: str = "viewer", **fields: Json) -> Json:
    return await api.post("/api/users", {"email": email, "role": role, **fields}, status=201)


async def test_a_made_up_password_is_shown_once_and_works(shared_system: RunningSystem) -> None:
    async with Api.logged_in(shared_system) as api, Api(shared_system.base_url) as user:
        made = await make(api, "ada@example.test", "editor", name="Ada")
        read = await api.get(f"/api/users/{made['id']}")
        listed = (await api.get("/api/users?size=100"))["data"]
        session = await user.login("ADA@example.test", made["password"])
        me = await user.get("/api/auth/me")
    shape = {"id", "email", "name", "role", "disabled", "companyId", "createdAt", "updatedAt"}
    assert set(made) == shape | {"password"}
    assert set(read) == shape
    assert [user for user in listed if user["id"] == made["id"]] == [read]
    assert (read["email"], read["name"], read["role"], read["disabled"]) == (
        "ada@example.test", "Ada", "editor", False,
    )  # fmt: skip
    assert session["id"] == me["id"] == made["id"]
    assert me["permissions"] == ["edit", "read", "run"]


async def test_a_given_password_is_not_shown(shared_system: RunningSystem) -> None:
    async with Api.logged_in(shared_system) as api, Api(shared_system.base_url) as user:
        made = await make(api, "given@example.test", password=PASSWORD)
        await user.login("given@example.test", PASSWORD)
    assert "password" not in made
    assert made["name"] == "given"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "email"),
        ({"email": ""}, "email"),
        ({"email": "no address"}, "email"),
        ({"email": "@x"}, "email"),
        ({"email": "a b@x.test"}, "email"),
        ({"email": "x" * 300 + "@x.test"}, "email"),
        ({"email": "r@x.test", "role": "root"}, "role"),
        ({"email": "p@x.test", "password": "short"}, "password"),
        ({"email": "p@x.test", "password": ""}, "password"),
        ({"email": "p@x.test", "password": "x" * 2_000}, "password"),
        ({"email": "n@x.test", "name": "x" * 201}, "name"),
    ],
)
async def test_what_is_no_user_is_refused_by_name(
    shared_system: RunningSystem, body: Json, field: str
) -> None:
    async with Api.logged_in(shared_system) as api:
        answer = await api.call("POST", "/api/users", body)
    assert (answer.status, answer.json["error"]) == (400, "VALIDATION_ERROR"), answer
    assert answer.json["message"].startswith(field)


async def test_an_email_belongs_to_one_user_however_it_is_written(shared_system: RunningSystem) -> None:
    async with Api.logged_in(shared_system) as api, neighbour(shared_system) as other:
        await make(api, "once@example.test")
        again = await api.refused("POST", "/api/users", {"email": " Once@Example.test "})
        elsewhere = await other.refused("POST", "/api/users", {"email": "once@example.test"})
        admin = await api.refused("POST", "/api/users", {"email": shared_system.email})
    assert again == elsewhere == admin == (409, "EMAIL_TAKEN")


async def test_of_many_who_make_one_user_at_once_one_does(shared_system: RunningSystem) -> None:
    async with Api.logged_in(shared_system) as api:
        body = {"email": "race@example.test", "password": PASSWORD}
        answers = await asyncio.gather(*(api.call("POST", "/api/users", body) for _ in range(6)))
        listed = (await api.get("/api/users?size=100"))["data"]
    assert sorted(answer.status for answer in answers) == [201] + [409] * 5
    assert [user["email"] for user in listed].count("race@example.test") == 1


async def test_a_change_of_role_counts_at_once(shared_system: RunningSystem) -> None:
    async with Api.logged_in(shared_system) as api, Api(shared_system.base_url) as user:
        made = await make(api, "role@example.test", password=PASSWORD)
        await user.login("role@example.test", PASSWORD)
        assert await user.refused("POST", "/api/flows", {"name": "x"}) == (403, "FORBIDDEN")
        changed = await api.put(f"/api/users/{made['id']}", {"role": "editor", "name": "Rolf"})
        await user.post("/api/flows", {"name": "x"}, status=201)
    assert (changed["role"], changed["name"], changed["email"]) == ("editor", "Rolf", "role@example.test")


async def test_a_disabled_user_is_out_until_enabled(shared_system: RunningSystem) -> None:
    async with Api.logged_in(shared_system) as api, Api(shared_system.base_url) as user:
        made = await make(api, "out@example.test", password=PASSWORD)
        await user.login("out@example.test", PASSWORD)
        await api.put(f"/api/users/{made['id']}", {"disabled": True})
        assert await user.refused("GET", "/api/auth/me") == (401, "UNAUTHORIZED")
        body = {"email": "out@example.test", "password": PASSWORD}
        assert await user.refused("POST", "/api/auth/login", body) == (401, "UNAUTHORIZED")
        disabled = (await api.get("/api/users?disabled=true"))["data"]
        await api.put(f"/api/users/{made['id']}", {"disabled": False})
        await user.login("out@example.test", PASSWORD)
    assert [user["id"] for user in disabled] == [made["id"]]


async def test_the_last_admin_stays(shared_system: RunningSystem) -> None:
    async with neighbour(shared_system) as api:
        me = (await api.get("/api/auth/me"))["id"]
        for change in ({"role": "editor"}, {"disabled": True}):
            assert await api.refused("PUT", f"/api/users/{me}", change) == (409, "LAST_ADMIN")
        second = await make(api, f"second-{me}@example.test", "admin")
        await api.put(f"/api/users/{second['id']}", {"disabled": True})
        assert await api.refused("PUT", f"/api/users/{me}", {"role": "viewer"}) == (409, "LAST_ADMIN")
        await api.put(f"/api/users/{second['id']}", {"disabled": False})
        await api.put(f"/api/users/{me}", {"role": "viewer"})


async def test_admins_who_unmake_each_other_leave_one(shared_system: RunningSystem) -> None:
    async with neighbour(shared_system) as api, Api(shared_system.base_url) as second_api:
        first = (await api.get("/api/auth/me"))["id"]
        email = f"both-{first}@example.test"
        second = (await make(api, email, "admin", password=PASSWORD))["id"]
        await second_api.login(email, PASSWORD)
        one, two = await asyncio.gather(
            api.call("PUT", f"/api/users/{second}", {"role": "viewer"}),
            second_api.call("PUT", f"/api/users/{first}", {"role": "viewer"}),
        )
        judge = api if one.status == 200 else second_api
        admins = (await judge.get("/api/users?role=admin"))["data"]
    # The loser was refused, as the last admin or as none any more.
    assert sorted((one.status, two.status))[0] == 200
    assert sorted((one.status, two.status))[1] in (403, 409)
    assert len(admins) == 1


async def test_a_reset_password_replaces_the_old_and_ends_sessions(shared_system: RunningSystem) -> None:
    async with Api.logged_in(shared_system) as api, Api(shared_system.base_url) as user:
        made = await make(api, "reset@example.test", password=PASSWORD)
        await user.login("reset@example.test", PASSWORD)
        reset = await api.post(f"/api/users/{made['id']}/reset-password")
        assert await user.refused("GET", "/api/auth/me") == (401, "UNAUTHORIZED")
        body = {"email": "reset@example.test", "password": PASSWORD}
        assert await user.refused("POST", "/api/auth/login", body) == (401, "UNAUTHORIZED")
        await user.login("reset@example.test", reset["password"])
        given = await api.post(f"/api/users/{made['id']}/reset-password", {"password": "another-long-one"})
        await user.login("reset@example.test", "another-long-one")
        short = await api.refused("POST", f"/api/users/{made['id']}/reset-password", {"password": "short"})
    assert set(given) == {"id", "updatedAt"}
    assert short == (400, "VALIDATION_ERROR")


async def test_everybody_changes_their_own_password(shared_system: RunningSystem) -> None:
    async with Api.logged_in(shared_system) as api, Api(shared_system.base_url) as user:
        await make(api, "own-password@example.test", password=PASSWORD)
        await user.login("own-password@example.test", PASSWORD)
        wrong = {"oldPassword": "not this one", "newPassword": "another-long-one"}
        assert await user.refused("POST", "/api/auth/password", wrong) == (403, "FORBIDDEN")
        short = {"oldPassword": PASSWORD, "newPassword": "short"}
        assert await user.refused("POST", "/api/auth/password", short) == (400, "VALIDATION_ERROR")
        await user.post("/api/auth/password", {"oldPassword": PASSWORD, "newPassword": "another-long-one"})
        assert await user.refused("GET", "/api/auth/me") == (401, "UNAUTHORIZED")
        await user.login("own-password@example.test", "another-long-one")


async def test_the_old_password_cannot_be_guessed_without_end(shared_system: RunningSystem) -> None:
    async with Api.logged_in(shared_system) as api, Api(shared_system.base_url) as user:
        await make(api, "guess@example.test", password=PASSWORD)
        await user.login("guess@example.test", PASSWORD)
        wrong = {"oldPassword": "not this one", "newPassword": "another-long-one"}
        said = [(await user.refused("POST", "/api/auth/password", wrong))[0] for _ in range(11)]
    assert said == [403] * 10 + [429]


@pytest.mark.parametrize("role", ["editor", "operator", "viewer"])
async def test_only_admins_administer(shared_system: RunningSystem, role: str) -> None:
    async with Api.logged_in(shared_system) as api, Api(shared_system.base_url) as user:
        made = await make(api, f"only-{role}@example.test", role, password=PASSWORD)
        await user.login(f"only-{role}@example.test", PASSWORD)
        for method, path in (
            ("GET", "/api/users"),
            ("POST", "/api/users"),
            ("GET", f"/api/users/{made['id']}"),
            ("PUT", f"/api/users/{made['id']}"),
            ("POST", f"/api/users/{made['id']}/reset-password"),
            ("GET", "/api/audit"),
        ):
            assert await user.refused(method, path, {"role": "admin"}) == (403, "FORBIDDEN")


async def test_users_of_another_company_are_not_there(shared_system: RunningSystem) -> None:
    async with Api.logged_in(shared_system) as api, neighbour(shared_system) as other:
        user_id = (await make(api, "hidden@example.test"))["id"]
        calls = (
            ("GET", f"/api/users/{user_id}", None),
            ("PUT", f"/api/users/{user_id}", {"role": "admin"}),
            ("POST", f"/api/users/{user_id}/reset-password", None),
        )
        for call in calls:
            assert await other.refused(*call) == (404, "USER_NOT_FOUND")
        listed = await other.get("/api/users")
        assert [user["id"] for user in listed["data"]] == [(await other.get("/api/auth/me"))["id"]]


@pytest.mark.parametrize("user", ["0" * 24, "x", "*", "%3E", "a" * 300])
async def test_a_user_that_is_not_there_is_not_found(shared_system: RunningSystem, user: str) -> None:
    async with Api.logged_in(shared_system) as api:
        refused = await api.refused("PUT", f"/api/users/{user}", {"role": "viewer"})
    assert refused == (404, "USER_NOT_FOUND")


@pytest.mark.parametrize("query", ["role=root", "disabled=maybe", "page=-1", "size=0", "size=x"])
async def test_a_filter_that_is_none_is_refused(shared_system: RunningSystem, query: str) -> None:
    async with Api.logged_in(shared_system) as api:
        answer = await api.call("GET", f"/api/users?{query}")
    assert (answer.status, answer.json["message"].partition(":")[0]) == (400, query.partition("=")[0])
