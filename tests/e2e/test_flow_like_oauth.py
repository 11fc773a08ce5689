"""Sign-in through providers: `/api/v1/oauth` (spec flow-like section 11.3, override 6)."""

import base64
import hashlib
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, quote, urlsplit

import pytest
from aiohttp import web
from yarl import URL

from tests.e2e.api import Answer, Api
from tests.e2e.door import PASSWORD, Door, new_email, refusal, registered
from tests.fixtures.oidc import OidcProvider, challenge_of, free_port, oidc_provider, path_of
from tests.fixtures.system import RunningSystem, running_system

APP = "https://app.example.test/signed-in"
USERS: tuple[dict[str, Any], ...] = (
    {"sub": "ada", "email": "ada@idp.test", "email_verified": True, "name": "Ada at the IdP"},
    {"sub": "unverified", "email": "victim@idp.test", "email_verified": False},
    {"sub": "squatted", "email": "squatted@idp.test", "email_verified": True},
    {"sub": "staff", "email": "staff@idp.test", "email_verified": True},
    {"sub": "claims-staff", "email": "staff2@idp.test", "email_verified": "true"},
    {"sub": "no-mail"},
)


class Scene(NamedTuple):
    """A system, the provider that it knows, and the port of another that a test may play."""

    system: RunningSystem
    provider: OidcProvider
    plain_port: int


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    port = free_port()
    with oidc_provider(*USERS) as provider:
        path: Path = tmp_path_factory.mktemp("hub") / "hub.json"
        credentials = {"client_id": "headrace", "client_secret": "a-secret"}
        plain = f"http://127.0.0.1:{port}"
        addresses = {
            "auth_url": f"{plain}/auth",
            "token_url": f"{plain}/token",
            "userinfo_url": f"{plain}/me",
        }
        hub = {
            "oauth_redirects": [APP],
            "oauth_providers": {
                "acme": {**credentials, "issuer": provider.issuer},
                "again": {**credentials, "issuer": provider.issuer},
                "plain": {**credentials, **addresses, "scopes": ["user:email"]},
                "away": {**credentials, "issuer": f"http://127.0.0.1:{free_port()}"},
                "keyless": {
                    "client_id": "x", "client_secret_env": "HEADRACE_NOT_SET", "issuer": provider.issuer,
                },
            },
        }  # fmt: skip
        path.write_text(json.dumps(hub))
        with running_system(environ={"HEADRACE_HUB_FILE": str(path)}) as system:
            yield Scene(system, provider, port)


class Browser(Door):
    """A client with cookies that follows no redirect."""

    async def begin(self, provider: str = "acme", query: str = "") -> str:
        """Begin a sign-in and return where the provider is."""
        answer = await self.call("GET", f"/api/v1/oauth/{provider}{query}")
        assert answer.status == 302, answer
        return answer.headers["Location"]

    def cookies(self) -> dict[str, str]:
        """Return the cookies that the browser has now."""
        return {cookie.key: cookie.value for cookie in self._session.cookie_jar}

    def set_cookies(self, cookies: dict[str, str]) -> None:
        """Put cookies into the browser, as somebody who has kept them would."""
        self._session.cookie_jar.update_cookies(cookies, URL(self.base_url) / "api/v1/oauth/")

    async def come_back(self, address: str) -> Answer:
        """Follow the provider's redirect."""
        return await self.call("GET", path_of(address))


@asynccontextmanager
async def browser_of(scene: Scene) -> AsyncIterator[Browser]:
    async with Browser(scene.system.base_url) as browser:
        yield browser


async def sign_in(scene: Scene, subject: str, *, provider: str = "acme") -> Answer:
    """Sign in as this user of the provider, in a browser of their own."""
    async with browser_of(scene) as browser:
        back = await scene.provider.sign_in(await browser.begin(provider), subject)
        return await browser.come_back(back)


class TestRedirect:
    async def test_get_oauth_provider_is_302_with_pkce_state_and_nonce(self, scene: Scene) -> None:
        async with browser_of(scene) as browser:
            answer = await browser.call("GET", "/api/v1/oauth/acme/?state=mine")
            again = await browser.begin()
        asked = {
            name: values[0] for name, values in parse_qs(urlsplit(answer.headers["Location"]).query).items()
        }
        assert answer.headers["Location"].startswith(f"{scene.provider.issuer}/oauth2/authorize?")
        assert (asked["client_id"], asked["response_type"]) == ("headrace", "code")
        assert asked["code_challenge_method"] == "S256"
        assert set(asked["scope"].split()) == {"openid", "email", "profile"}
        assert urlsplit(asked["redirect_uri"]).path == "/api/v1/oauth/acme/callback"
        # The caller's state is the caller's; ours is random, and each time another.
        assert asked["state"] != "mine"
        assert len({asked["state"], asked["nonce"], asked["code_challenge"]}) == 3
        assert challenge_of(again) != asked["code_challenge"]
        cookie = answer.headers["Set-Cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=Lax" in cookie
        assert asked["state"] not in cookie

    @pytest.mark.parametrize(
        ("path", "expected"),
        [
            ("nobody", (404, "NOT_FOUND")),
            ("nobody/callback", (404, "NOT_FOUND")),
            ("keyless", (500, "INTERNAL_ERROR")),
            ("away", (503, "SERVICE_UNAVAILABLE")),
            ("acme?scope=openid+admin", (400, "BAD_REQUEST")),
            ("acme?scope=email", (400, "BAD_REQUEST")),
            (f"acme?state={'x' * 600}", (400, "BAD_REQUEST")),
        ],
    )
    async def test_what_cannot_be_is_refused(
        self, scene: Scene, path: str, expected: tuple[int, str]
    ) -> None:
        async with browser_of(scene) as browser:
            assert await browser.refused("GET", f"/api/v1/oauth/{path}") == expected

    @pytest.mark.parametrize(
        "address",
        [
            "https://evil.test/",
            f"{APP}/../evil",
            f"{APP}?x=1",
            f"{APP}@evil.test",
            "//evil.test",
            "https://app.example.test.evil.test/signed-in",
            "javascript:alert(1)",
        ],
    )
    async def test_no_open_redirect(self, scene: Scene, address: str) -> None:
        async with browser_of(scene) as browser:
            path = f"/api/v1/oauth/acme?redirect_uri={quote(address, safe='')}"
            assert await browser.refused("GET", path) == (400, "BAD_REQUEST")


class TestCallback:
    async def test_the_user_is_made_once_and_is_the_same_the_next_time(self, scene: Scene) -> None:
        first, second = await sign_in(scene, "ada"), await sign_in(scene, "ada")
        assert (first.status, second.status) == (200, 200), first
        assert first.json["user"] == second.json["user"]
        assert (first.json["user"]["email"], first.json["user"]["name"]) == ("ada@idp.test", "Ada at the IdP")
        async with Door(scene.system.base_url, first.json["access_token"]) as door:
            assert (await door.get("/api/v1/user"))["id"] == first.json["user"]["id"]
            await door.post("/api/v1/auth/refresh", {"refresh_token": first.json["refresh_token"]})

    async def test_with_a_redirect_uri_the_page_gets_a_code_for_a_minute(self, scene: Scene) -> None:
        async with browser_of(scene) as browser:
            url = await browser.begin(query=f"?redirect_uri={APP}&state=the%20page's")
            answer = await browser.come_back(await scene.provider.sign_in(url, "ada"))
            assert answer.status == 302
            address = urlsplit(answer.headers["Location"])
            assert f"{address.scheme}://{address.netloc}{address.path}" == APP
            given = parse_qs(address.query)
            assert given["state"] == ["the page's"]
            body = {"refresh_token": given["code"][0]}
            account = await browser.post("/api/v1/auth/refresh", body)
            assert account["user"]["email"] == "ada@idp.test"
            assert await browser.refused("POST", "/api/v1/auth/refresh", body) == (401, "UNAUTHORIZED")

    async def test_a_state_is_good_once(self, scene: Scene) -> None:
        async with browser_of(scene) as browser:
            url = await browser.begin()
            back = await scene.provider.sign_in(url, "ada")
            cookies = browser.cookies()
            assert (await browser.come_back(back)).status == 200
            browser.set_cookies(cookies)
            # With another code of the provider, too.
            other = await scene.provider.sign_in(url, "ada")
            for address in (back, other):
                assert refusal(await browser.come_back(address)) == (401, "UNAUTHORIZED")

    async def test_another_browser_does_not_finish_it(self, scene: Scene) -> None:
        async with browser_of(scene) as mine, browser_of(scene) as other:
            back = await scene.provider.sign_in(await mine.begin(), "ada")
            assert refusal(await other.come_back(back)) == (401, "UNAUTHORIZED")
            # Nor does one that has begun a sign-in of its own.
            await other.begin()
            assert refusal(await other.come_back(back)) == (401, "UNAUTHORIZED")

    async def test_another_provider_does_not_finish_it(self, scene: Scene) -> None:
        async with browser_of(scene) as browser:
            back = await scene.provider.sign_in(await browser.begin(), "ada")
            mixed = back.replace("/oauth/acme/", "/oauth/again/")
            assert refusal(await browser.come_back(mixed)) == (401, "UNAUTHORIZED")
            foreign = f"{back}&iss=https%3A%2F%2Fevil.test"
            assert refusal(await browser.come_back(foreign)) == (401, "UNAUTHORIZED")
            assert (await browser.come_back(back)).status == 200

    async def test_a_code_of_another_sign_in_is_found_out_by_its_nonce(self, scene: Scene) -> None:
        async with browser_of(scene) as mine, browser_of(scene) as other:
            stolen = await scene.provider.sign_in(await other.begin(), "ada")
            code = parse_qs(urlsplit(stolen).query)["code"][0]
            own = await scene.provider.sign_in(await mine.begin(), "staff")
            state = parse_qs(urlsplit(own).query)["state"][0]
            path = f"/api/v1/oauth/acme/callback?code={code}&state={state}"
            assert await mine.refused("GET", path) == (401, "UNAUTHORIZED")

    @pytest.mark.parametrize("query", ["", "?code=x", "?state=y", "?code=x&state=y", "?error=access_denied"])
    async def test_what_was_not_begun_is_401(self, scene: Scene, query: str) -> None:
        async with browser_of(scene) as browser:
            path = f"/api/v1/oauth/acme/callback{query}"
            assert await browser.refused("GET", path) == (401, "UNAUTHORIZED")

    async def test_a_code_that_the_provider_does_not_know_is_401(self, scene: Scene) -> None:
        async with browser_of(scene) as browser:
            state = parse_qs(urlsplit(await browser.begin()).query)["state"][0]
            path = f"/api/v1/oauth/acme/callback?code=made-up&state={state}"
            assert await browser.refused("GET", path) == (401, "UNAUTHORIZED")


class TestLinking:
    async def test_an_account_that_anybody_may_have_made_is_not_linked(self, scene: Scene) -> None:
        async with registered(scene.system, email="squatted@idp.test") as squatter:
            assert refusal(await sign_in(scene, "squatted")) == (403, "FORBIDDEN")
            assert (await squatter.get("/api/v1/user"))["email"] == "squatted@idp.test"

    async def test_a_user_whom_the_operator_made_is_linked(self, scene: Scene) -> None:
        async with Api.logged_in(scene.system) as admin:
            user = await admin.post("/api/users", {"email": "staff@idp.test", "role": "viewer"}, status=201)
        answer = await sign_in(scene, "staff")
        assert answer.status == 200, answer
        assert answer.json["user"]["id"] == user["id"]

    async def test_an_email_that_the_provider_has_not_verified_links_nothing(self, scene: Scene) -> None:
        async with Api.logged_in(scene.system) as admin:
            for email in ("victim@idp.test", "staff2@idp.test"):
                await admin.post("/api/users", {"email": email}, status=201)
        # A text "true" is not true.
        for subject in ("unverified", "claims-staff"):
            assert refusal(await sign_in(scene, subject)) == (403, "FORBIDDEN")

    async def test_without_an_email_there_is_no_account(self, scene: Scene) -> None:
        assert refusal(await sign_in(scene, "no-mail")) == (403, "FORBIDDEN")

    async def test_who_came_by_a_provider_has_no_password(self, scene: Scene) -> None:
        await sign_in(scene, "ada")
        async with Door(scene.system.base_url) as door:
            for password in ("", PASSWORD, "null"):
                body = {"email": "ada@idp.test", "password": password or " "}
                assert await door.refused("POST", "/api/v1/auth/login", body) == (401, "UNAUTHORIZED")


class PlainProvider:
    """An OAuth 2 server without OpenID, which insists on PKCE: the code `good` was given for this challenge."""

    def __init__(self) -> None:
        self.challenge = ""
        self.email = new_email()

    async def token(self, request: web.Request) -> web.Response:
        form = await request.post()
        verifier = str(form.get("code_verifier", ""))
        digest = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        if digest != self.challenge or form.get("code") != "good":
            return web.json_response({"error": "invalid_grant"}, status=400)
        return web.json_response({"access_token": "at", "token_type": "Bearer"})

    async def me(self, request: web.Request) -> web.Response:
        assert request.headers["Authorization"] == "Bearer at"
        told = {"id": 4711, "login": "octo", "email": self.email, "email_verified": False}
        return web.json_response(told)


@asynccontextmanager
async def plain_provider(scene: Scene) -> AsyncIterator[PlainProvider]:
    provider = PlainProvider()
    app = web.Application()
    app.add_routes([web.post("/token", provider.token), web.get("/me", provider.me)])
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", scene.plain_port).start()
    try:
        yield provider
    finally:
        await runner.cleanup()


class TestPlainOAuth:
    async def test_the_verifier_is_the_one_of_the_challenge(self, scene: Scene) -> None:
        async with plain_provider(scene) as provider, browser_of(scene) as browser:
            url = await browser.begin("plain")
            provider.challenge = challenge_of(url)
            state = parse_qs(urlsplit(url).query)["state"][0]
            account = await browser.get(f"/api/v1/oauth/plain/callback?code=good&state={state}")
        assert (account["user"]["email"], account["user"]["name"]) == (provider.email, "octo")

    async def test_a_code_of_another_challenge_is_refused(self, scene: Scene) -> None:
        async with (
            plain_provider(scene) as provider,
            browser_of(scene) as browser,
            browser_of(scene) as other,
        ):
            provider.challenge = challenge_of(await other.begin("plain"))
            state = parse_qs(urlsplit(await browser.begin("plain")).query)["state"][0]
            path = f"/api/v1/oauth/plain/callback?code=good&state={state}"
            assert await browser.refused("GET", path) == (401, "UNAUTHORIZED")
