"""Accounts of the second surface: `/auth`, `/user`, `/profile` (spec flow-like sections 11.3 and 4)."""

import asyncio
import json
import re
from typing import Any

import jwt
import pytest

from tests.e2e.api import Api
from tests.e2e.door import PASSWORD, Door, new_email, refusal, registered
from tests.fixtures.system import RunningSystem
from tests.waiting import eventually

USER_FIELDS = {
    "id", "stripe_id", "tracking_id", "email", "username", "preferred_username", "name", "description", "avatar",
    "additional_information", "permission", "accepted_terms_version", "tutorial_completed", "status", "tier",
    "total_size", "total_llm_price", "total_embedding_price", "llm_price_tracking_month", "created_at", "updated_at",
}  # fmt: skip


class TestRegister:
    async def test_answers_201_with_tokens_and_the_user(self, shared_system: RunningSystem) -> None:
        async with registered(shared_system, name="Ada", username=f"ada{id(self)}") as door:
            account = door.account
        assert set(account) == {"access_token", "refresh_token", "token_type", "expires_in", "user"}
        assert (account["token_type"], account["expires_in"]) == ("Bearer", 3600)
        assert set(account["user"]) == USER_FIELDS
        # An admin of the installation nobody becomes by registering.
        assert (account["user"]["name"], account["user"]["permission"]) == ("Ada", 0)
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", account["user"]["created_at"])

    async def test_fq7_a_taken_email_is_400_whatever_its_case(self, shared_system: RunningSystem) -> None:
        async with registered(shared_system) as door:
            body = {"email": door.account["user"]["email"].upper(), "password": PASSWORD}
            assert await door.refused("POST", "/api/v1/auth/register", body) == (400, "BAD_REQUEST")

    async def test_a_taken_username_is_400(self, shared_system: RunningSystem) -> None:
        name = f"grace{id(self)}"
        async with registered(shared_system, username=name) as door:
            body = {"email": new_email(), "password": PASSWORD, "username": name.upper()}
            assert await door.refused("POST", "/api/v1/auth/register", body) == (400, "BAD_REQUEST")

    @pytest.mark.parametrize(
        ("fields", "named"),
        [
            ({"email": None}, "email"),
            ({"email": ""}, "email"),
            ({"email": "nobody"}, "email"),
            ({"password": "short"}, "password"),
            ({"password": 7}, "password"),
            ({"username": "a b"}, "username"),
            ({"name": []}, "name"),
        ],
    )
    async def test_what_does_not_fit_is_400_and_names_the_field(
        self, shared_system: RunningSystem, fields: dict[str, Any], named: str
    ) -> None:
        async with Door(shared_system.base_url) as door:
            body = {"email": new_email(), "password": PASSWORD, **fields}
            answer = await door.call("POST", "/api/v1/auth/register", body)
            assert refusal(answer) == (400, "BAD_REQUEST")
            assert named in answer.json["error"]["message"]

    async def test_two_at_once_make_one_account(self, shared_system: RunningSystem) -> None:
        body = {"email": new_email(), "password": PASSWORD}
        async with Door(shared_system.base_url) as door:
            calls = (door.call("POST", "/api/v1/auth/register", body) for _ in range(4))
            said = sorted(answer.status for answer in await asyncio.gather(*calls))
        assert said == [201, 400, 400, 400]

    async def test_everybody_who_registers_has_a_company_of_their_own(
        self, shared_system: RunningSystem
    ) -> None:
        async with registered(shared_system) as ada, registered(shared_system) as bob:
            flow = await ada.create_flow("Mine alone")
            assert [f["id"] for f in (await ada.get("/api/flows"))["data"]] == [flow["id"]]
            assert (await bob.get("/api/flows"))["data"] == []
            assert (await bob.call("GET", f"/api/flows/{flow['id']}")).status == 404
            me, other = await ada.get("/api/auth/me"), await bob.get("/api/auth/me")
            assert me["companyId"] != other["companyId"]
            assert [user["id"] for user in (await bob.get("/api/users"))["data"]] == [other["id"]]


class TestLogin:
    async def test_by_email_or_username_answers_the_same_body(self, shared_system: RunningSystem) -> None:
        name = f"linus{id(self)}"
        async with registered(shared_system, username=name) as door:
            email = door.account["user"]["email"]
            by_email = {"email": email.upper(), "password": PASSWORD}
            by_name = {"username": name.upper(), "password": PASSWORD}
            for body in (by_email, by_name):
                account = await door.post("/api/v1/auth/login", body)
                assert account["user"] == door.account["user"]
                assert account["refresh_token"] != door.account["refresh_token"]

    async def test_the_admin_of_the_environment_runs_the_installation(
        self, worker_system: RunningSystem
    ) -> None:
        async with Door(worker_system.base_url) as door:
            body = {"email": worker_system.email, "password": worker_system.password}
            account = door.take(await door.post("/api/v1/auth/login/", body))
            assert account["user"]["permission"] == 1
            assert (await door.get("/api/auth/me"))["role"] == "admin"

    async def test_a_wrong_password_and_an_unknown_user_are_401_in_the_same_words(
        self, shared_system: RunningSystem
    ) -> None:
        async with registered(shared_system) as door:
            bodies = [
                {"email": door.account["user"]["email"], "password": "wrong-password"},
                {"email": new_email(), "password": "wrong-password"},
                {"username": "nobody-at-all", "password": "wrong-password"},
            ]
            answers = [await door.call("POST", "/api/v1/auth/login", body) for body in bodies]
        assert {refusal(answer) for answer in answers} == {(401, "UNAUTHORIZED")}
        assert len({answer.json["error"]["message"] for answer in answers}) == 1

    async def test_a_refusal_is_in_the_audit(self, shared_system: RunningSystem) -> None:
        async with registered(shared_system) as door:
            wrong = {"email": door.account["user"]["email"], "password": "wrong-password"}
            await door.refused("POST", "/api/v1/auth/login", wrong)

            async def noted() -> Any:
                deeds = (await door.get("/api/audit?size=100"))["data"]
                return {deed["action"] for deed in deeds} >= {"auth.login", "auth.login.failed"}

            await eventually(noted)

    @pytest.mark.parametrize(
        "body", [{}, {"email": "a@b.test"}, {"password": "x"}, {"email": 1, "password": "x"}]
    )
    async def test_a_missing_field_is_400(self, shared_system: RunningSystem, body: dict[str, Any]) -> None:
        async with Door(shared_system.base_url) as door:
            assert await door.refused("POST", "/api/v1/auth/login", body) == (400, "BAD_REQUEST")

    async def test_a_disabled_user_is_403_and_their_tokens_401(self, shared_system: RunningSystem) -> None:
        async with registered(shared_system) as boss:
            email = new_email()
            user = await boss.post("/api/users", {"email": email, "password": PASSWORD}, status=201)
            async with Door(shared_system.base_url) as door:
                body = {"email": email, "password": PASSWORD}
                account = door.take(await door.post("/api/v1/auth/login", body))
                await boss.put(f"/api/users/{user['id']}", {"disabled": True})
                assert await door.refused("GET", "/api/v1/user") == (401, "UNAUTHORIZED")
                refresh = {"refresh_token": account["refresh_token"]}
                assert await door.refused("POST", "/api/v1/auth/refresh", refresh) == (401, "UNAUTHORIZED")
                door.token = ""
                assert await door.refused("POST", "/api/v1/auth/login", body) == (403, "FORBIDDEN")

    async def test_override_7_ten_failures_of_an_account_are_the_last(
        self, shared_system: RunningSystem
    ) -> None:
        async with registered(shared_system) as door:
            email = door.account["user"]["email"]
            wrong, right = {"email": email, "password": "wrong"}, {"email": email, "password": PASSWORD}
            said = [(await door.call("POST", "/api/v1/auth/login", wrong)).status for _ in range(6)]
            calls = (door.call("POST", "/api/v1/auth/login", wrong) for _ in range(8))
            said += sorted(answer.status for answer in await asyncio.gather(*calls))
            answer = await door.call("POST", "/api/v1/auth/login", right)
        assert said == [401] * 10 + [429] * 4
        assert refusal(answer) == (429, "TOO_MANY_REQUESTS")
        assert 500 < int(answer.headers["Retry-After"]) <= 601


class TestRefresh:
    async def test_a_refresh_token_holds_once_and_its_reuse_ends_the_family(
        self, shared_system: RunningSystem
    ) -> None:
        async with registered(shared_system) as door:
            first = door.account["refresh_token"]
            second = door.take(await door.post("/api/v1/auth/refresh", {"refresh_token": first}))
            assert set(second) == {"access_token", "refresh_token", "token_type", "expires_in", "user"}
            await door.get("/api/v1/user")
            reused = {"refresh_token": first, "grant_type": "refresh_token"}
            assert await door.refused("POST", "/api/v1/auth/refresh", reused) == (401, "UNAUTHORIZED")
            newest = {"refresh_token": second["refresh_token"]}
            assert await door.refused("POST", "/api/v1/auth/refresh", newest) == (401, "UNAUTHORIZED")

            async def is_out() -> bool:
                return (await door.call("GET", "/api/v1/user")).status == 401

            await eventually(is_out)
            # Another sign-in of the same user is another family.
            body = {"email": second["user"]["email"], "password": PASSWORD}
            door.token = ""
            door.take(await door.post("/api/v1/auth/login", body))
            await door.get("/api/v1/user")

    async def test_of_two_at_once_at_most_one_is_answered(self, shared_system: RunningSystem) -> None:
        async with registered(shared_system) as door:
            body = {"refresh_token": door.account["refresh_token"]}
            calls = (door.call("POST", "/api/v1/auth/refresh", body) for _ in range(4))
            said = [answer.status for answer in await asyncio.gather(*calls)]
        assert said.count(200) <= 1
        assert set(said) <= {200, 401}

    @pytest.mark.parametrize(
        ("body", "expected"),
        [
            ({}, (400, "BAD_REQUEST")),
            ({"refresh_token": ""}, (400, "BAD_REQUEST")),
            ({"refresh_token": "nobodys"}, (401, "UNAUTHORIZED")),
        ],
    )
    async def test_a_missing_one_is_400_and_an_unknown_one_401(
        self, shared_system: RunningSystem, body: dict[str, Any], expected: tuple[int, str]
    ) -> None:
        async with Door(shared_system.base_url) as door:
            assert await door.refused("POST", "/api/v1/auth/refresh", body) == expected

    async def test_a_logout_ends_both_tokens(self, shared_system: RunningSystem) -> None:
        async with registered(shared_system) as door:
            assert (await door.call("POST", "/api/v1/auth/logout")).status == 204
            assert await door.refused("GET", "/api/v1/user") == (401, "UNAUTHORIZED")
            body = {"refresh_token": door.account["refresh_token"]}
            door.token = ""
            assert await door.refused("POST", "/api/v1/auth/refresh", body) == (401, "UNAUTHORIZED")

    async def test_a_new_password_ends_all_sign_ins(self, shared_system: RunningSystem) -> None:
        async with registered(shared_system) as door:
            body = {"oldPassword": PASSWORD, "newPassword": "another-horse-battery"}
            await door.post("/api/auth/password", body)
            assert await door.refused("GET", "/api/v1/user") == (401, "UNAUTHORIZED")
            refresh = {"refresh_token": door.account["refresh_token"]}
            door.token = ""
            assert await door.refused("POST", "/api/v1/auth/refresh", refresh) == (401, "UNAUTHORIZED")


class TestAccessTokens:
    async def test_they_verify_with_the_published_keys(self, shared_system: RunningSystem) -> None:
        async with registered(shared_system) as door:
            published = await door.get("/api/v1/auth/jwks")
            assert published == await door.get("/api/v1/execution/.well-known/jwks.json")
            header = jwt.get_unverified_header(door.token)
            (key,) = [key for key in published["keys"] if key["kid"] == header["kid"]]
            assert (key["kty"], key["crv"], key["alg"], key["use"]) == ("EC", "P-256", "ES256", "sig")
            assert "d" not in key
            claims = jwt.decode(
                door.token,
                jwt.PyJWK(key).key,
                algorithms=["ES256"],
                audience="flow-like-api",
                issuer="flow-like",
            )
        assert claims["sub"] == door.account["user"]["id"]
        assert claims["exp"] - claims["iat"] == 3600
        assert len(claims["jti"]) == 24

    async def test_both_surfaces_take_them_with_and_without_a_scheme(
        self, shared_system: RunningSystem
    ) -> None:
        async with registered(shared_system) as door:
            for door.scheme in ("Bearer", "bearer", ""):
                assert (await door.get("/api/v1/user"))["id"] == (await door.get("/api/auth/me"))["id"]

    async def test_sessions_and_api_keys_of_the_first_surface_hold_here(
        self, shared_system: RunningSystem
    ) -> None:
        async with Api.logged_in(shared_system) as api:
            user = await api.get("/api/v1/user")
            key = await api.post("/api/auth/api-keys", {"name": "both doors"}, status=201)
        async with Door(shared_system.base_url, key["token"]) as door:
            assert await door.get("/api/v1/user") == user

    @pytest.mark.parametrize(
        "authorization", ["Bearer", "Basic YTpi", "Bearer a.b.c", "flk_a.b.c", "pat_x.y"]
    )
    async def test_11_2_rule_2_what_is_no_credential_is_401(
        self, shared_system: RunningSystem, authorization: str
    ) -> None:
        async with Door(shared_system.base_url) as door:
            answer = await door.call("GET", "/api/v1/user", headers={"Authorization": authorization})
        assert refusal(answer) == (401, "UNAUTHORIZED")
        assert answer.headers["WWW-Authenticate"] == "Bearer"


async def test_no_secret_is_in_the_log_or_the_audit(shared_system: RunningSystem) -> None:
    async with registered(shared_system) as door:
        made = await door.put("/api/v1/user/pat", {"name": "ci"})
        hidden = [PASSWORD, door.account["refresh_token"], door.token, made["pat"].partition(".")[2]]
        audit = json.dumps(await door.get("/api/audit?size=100"))
        stored = b"".join(
            path.read_bytes() for path in (shared_system.home / "nats").rglob("*.blk") if path.is_file()
        )
    assert "pat.create" in audit
    assert [secret for secret in hidden if secret in audit] == []
    assert [secret for secret in hidden if secret.encode() in stored] == []
    assert b"BEGIN PRIVATE KEY" not in stored
