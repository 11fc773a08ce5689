"""Users, profiles and personal access tokens of the second surface (spec flow-like sections 11.3 and 4)."""

from typing import Any

import pytest

from tests.e2e.door import Door, new_email, registered
from tests.fixtures.system import RunningSystem


class TestUser:
    async def test_put_changes_what_is_the_users_and_nothing_else(self, shared_system: RunningSystem) -> None:
        async with registered(shared_system) as door:
            before = await door.get("/api/v1/user")
            assert before == door.account["user"]
            wish = {
                "name": "Ada Lovelace", "description": "Analyst", "accepted_terms_version": "2",
                "tutorial_completed": True, "avatar_extension": "png", "preferred_username": "Ada",
                "username": f"countess{id(self)}", "additional_information": "x",
                "id": "0" * 24, "email": "other@example.test", "permission": 1, "tier": "Pro", "status": "Banned",
            }  # fmt: skip
            after = await door.put("/api/v1/user", wish)
            assert after.pop("signed_url") is None
            assert await door.get("/api/v1/user/") == after
            assert await door.get("/api/v1/user/info") == after
        changed = {name for name in before if before[name] != after[name]} - {"updated_at"}
        assert changed == {
            "name", "description", "accepted_terms_version", "tutorial_completed", "preferred_username", "username",
            "additional_information",
        }  # fmt: skip

    @pytest.mark.parametrize(
        "wish", [{"name": 7}, {"name": " "}, {"username": "x"}, {"tutorial_completed": "yes"}, []]
    )
    async def test_what_does_not_fit_is_400(self, shared_system: RunningSystem, wish: Any) -> None:
        async with registered(shared_system) as door:
            assert await door.refused("PUT", "/api/v1/user", wish) == (400, "BAD_REQUEST")

    @pytest.mark.parametrize(("method", "path"), [("GET", "/user"), ("PUT", "/user"), ("GET", "/profile/me")])
    async def test_without_a_token_401(self, shared_system: RunningSystem, method: str, path: str) -> None:
        async with Door(shared_system.base_url) as door:
            assert await door.refused(method, f"/api/v1{path}") == (401, "UNAUTHORIZED")


class TestProfile:
    async def test_fq3_me_and_its_id_are_the_own_profile(self, shared_system: RunningSystem) -> None:
        async with registered(shared_system) as door:
            own = await door.get("/api/v1/profile/me")
            assert (own["name"], own["user_id"]) == ("Default Profile", door.account["user"]["id"])
            assert await door.get(f"/api/v1/profile/{own['id']}") == own
            assert await door.get("/api/v1/profile") == [own]

    async def test_fq3_a_user_of_the_company_is_shown_as_the_hub_allows(
        self, shared_system: RunningSystem
    ) -> None:
        async with registered(shared_system) as door:
            user = await door.post("/api/users", {"email": new_email(), "name": "Bob"}, status=201)
            assert await door.get(f"/api/v1/profile/{user['id']}") == {"id": user["id"], "name": "Bob"}

    async def test_fq3_anothers_profile_and_other_companies_users_are_404(
        self, shared_system: RunningSystem
    ) -> None:
        async with registered(shared_system) as ada, registered(shared_system) as bob:
            own = await ada.get("/api/v1/profile/me")
            for asked in (own["id"], own["user_id"], "0" * 24, "nobody", "%00", "*"):
                assert await bob.refused("GET", f"/api/v1/profile/{asked}") == (404, "NOT_FOUND")


class TestPersonalAccessTokens:
    async def test_put_list_use_and_delete(self, shared_system: RunningSystem) -> None:
        async with registered(shared_system) as door:
            made = await door.put("/api/v1/user/pat", {"name": "ci", "valid_until": 4_102_444_800})
            assert made["pat"].startswith(f"pat_{made['id']}.")
            assert made["permission"] == 1
            answer = await door.call("GET", "/api/v1/user/pat")
            assert answer.headers["X-Total-Count"] == "1"
            (listed,) = answer.json
            assert listed == {
                "id": made["id"], "name": "ci", "permissions": 1, "created_at": listed["created_at"],
                "valid_until": "2100-01-01T00:00:00Z",
            }  # fmt: skip
            for scheme in ("", "PAT", "Bearer"):
                async with Door(shared_system.base_url, made["pat"], scheme=scheme) as program:
                    assert (await program.get("/api/v1/user"))["id"] == door.account["user"]["id"]
                    assert (await program.get("/api/flows"))["data"] == []
            assert (await door.call("DELETE", f"/api/v1/user/pat/{made['id']}")).status == 204
            assert (await door.get("/api/v1/user/pat")) == []
            async with Door(shared_system.base_url, made["pat"]) as program:
                assert await program.refused("GET", "/api/v1/user") == (401, "UNAUTHORIZED")

    async def test_a_limited_one_reaches_no_further_than_its_bits(self, shared_system: RunningSystem) -> None:
        async with registered(shared_system) as door:
            made = await door.put("/api/v1/user/pat", {"name": "store only", "permissions": 16})
            async with Door(shared_system.base_url, made["pat"]) as program:
                await program.get("/api/v1/user")
                assert await program.refused("PUT", "/api/v1/user", {"name": "X"}) == (403, "FORBIDDEN")
                wider = {"name": "wider", "permissions": 1}
                assert await program.refused("PUT", "/api/v1/user/pat", wider) == (403, "FORBIDDEN")
                assert (await program.call("GET", "/api/flows")).status == 403

    async def test_nobody_revokes_anothers(self, shared_system: RunningSystem) -> None:
        async with registered(shared_system) as ada, registered(shared_system) as bob:
            made = await ada.put("/api/v1/user/pat", {"name": "mine"})
            assert await bob.refused("DELETE", f"/api/v1/user/pat/{made['id']}") == (404, "NOT_FOUND")
            assert len(await ada.get("/api/v1/user/pat")) == 1
            assert await bob.get("/api/v1/user/pat") == []

    @pytest.mark.parametrize(
        "fields",
        [
            {},
            {"name": ""},
            {"name": "x", "permissions": 0},
            {"name": "x", "permissions": 64},
            {"name": "x", "valid_until": 1},
            {"name": "x", "valid_until": "tomorrow"},
            {"name": "x", "valid_until": 10**20},
        ],
    )
    async def test_what_does_not_fit_is_400(
        self, shared_system: RunningSystem, fields: dict[str, Any]
    ) -> None:
        async with registered(shared_system) as door:
            assert await door.refused("PUT", "/api/v1/user/pat", fields) == (400, "BAD_REQUEST")
