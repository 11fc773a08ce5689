"""The hub and what it says of itself (spec flow-like sections 3 and 11.3)."""

from pathlib import Path

import msgspec
import pytest
from aiohttp import ClientSession

from libs.common.config import Config
from libs.common.errors import Invalid
from services.gateway.app import App
from services.gateway.flow_like import hub
from tests.e2e.api import Api

FILE = """
name: Acme flows
environment: Production
legal_notice: https://acme.test/legal
contact: {name: Ada, email: ada@acme.test, url: https://acme.test}
unauthorized_read: false
store_review: true
oauth_providers:
  acme:
    client_id: headrace
    client_secret: do-not-tell
    client_secret_env: DO_NOT_TELL_EITHER
    issuer: https://id.acme.test
profiles:
  - {id: quiet, name: Quiet, settings: {connection_mode: step}}
"""


class TestAsShipped:
    async def test_get_api_v1_is_the_hub(self, stranger: Api) -> None:
        shown = await stranger.get("/api/v1/")
        needed = {
            "name", "description", "domain", "environment", "features", "contact", "authentication", "tiers", "hubs",
            "supported_sinks",
        }  # fmt: skip
        assert needed <= set(shown)
        assert (shown["environment"], shown["tiers"]["FREE"]["max_llm_calls"]) == ("Development", -1)

    @pytest.mark.parametrize("name", ["legal", "privacy", "terms"])
    async def test_get_info_texts_are_text_and_never_empty(self, gateway: App, name: str) -> None:
        async with (
            ClientSession(f"http://127.0.0.1:{gateway.port}") as session,
            session.get(f"/api/v1/info/{name}") as response,
        ):
            assert response.content_type == "text/plain"
            assert len(await response.text()) > 10

    async def test_get_info_contact_has_its_three_fields(self, stranger: Api) -> None:
        assert set(await stranger.get("/api/v1/info/contact")) == {"name", "email", "url"}

    async def test_get_info_features_are_eight_truths(self, stranger: Api) -> None:
        features = await stranger.get("/api/v1/info/features")
        assert len(features) == 8
        assert {name for name, there in features.items() if there} == {"flow_hosting", "unauthorized_read"}

    async def test_get_info_profiles_has_a_template(self, stranger: Api) -> None:
        (template,) = await stranger.get("/api/v1/info/profiles")
        assert template["name"] == "Default Profile"
        assert template["created"].endswith("Z")

    async def test_fq5_the_version_is_text_or_json_on_request(self, gateway: App) -> None:
        async with ClientSession(f"http://127.0.0.1:{gateway.port}") as session:
            async with session.get("/api/v1/version") as response:
                assert (response.content_type, await response.text()) == ("text/plain", "0.1.0")
            async with session.get("/api/v1/version", headers={"Accept": "application/json"}) as response:
                assert await response.json() == {"version": "0.1.0"}

    async def test_get_api_v1_health_is_exactly_this(self, stranger: Api) -> None:
        assert await stranger.get("/api/v1/health") == {"status": "ok"}


class TestFromAFile:
    @pytest.fixture
    def config(self, config: Config, tmp_path: Path) -> Config:
        path = tmp_path / "hub.yaml"
        path.write_text(FILE)
        return msgspec.structs.replace(config, hub_file=str(path), public_url="https://flows.acme.test/")

    async def test_the_file_and_the_environment_say_what_it_is(self, stranger: Api) -> None:
        shown = await stranger.get("/api/v1")
        assert (shown["name"], shown["domain"], shown["secure"]) == ("Acme flows", "flows.acme.test", True)
        assert shown["authentication"]["login_url"] == "https://flows.acme.test/api/v1/auth/login"
        assert shown["oauth_providers"]["acme"]["login_url"] == "https://flows.acme.test/api/v1/oauth/acme"
        assert shown["features"]["governance"] is True

    async def test_no_secret_of_the_file_is_shown(self, gateway: App) -> None:
        async with (
            ClientSession(f"http://127.0.0.1:{gateway.port}") as session,
            session.get("/api/v1") as response,
        ):
            text = await response.text()
        assert "do-not-tell" not in text
        assert "DO_NOT_TELL" not in text
        assert "client_id" not in text

    async def test_without_unauthorized_read_the_profiles_are_for_users(
        self, stranger: Api, api: Api
    ) -> None:
        answer = await stranger.call("GET", "/api/v1/info/profiles")
        assert (answer.status, answer.json["error"]["code"]) == (401, "UNAUTHORIZED")
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        (template,) = await api.get("/api/v1/info/profiles")
        assert (template["id"], template["hub"]) == ("quiet", "flows.acme.test")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("name: [", "neither YAML nor JSON"),
        ("name: 7", r"\$\.name"),
        ("nmae: Acme", "nmae"),
        ("legal_notice: ' '", "legal_notice must not be empty"),
        ("environment: production", "environment"),
        ("oauth_providers: {a: {}}", "client_id"),
        ("- a", "Expected `object`"),
    ],
)
def test_a_file_that_does_not_fit_stops_the_start(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "hub.yaml"
    path.write_text(content)
    with pytest.raises(Invalid, match=said):
        hub.load(Config(hub_file=str(path)))


def test_a_file_that_is_not_there_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="cannot be read"):
        hub.load(Config(hub_file=str(tmp_path / "none.yaml")))


def test_json_is_fine_too_and_so_is_an_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "hub.json"
    path.write_text('{"name": "In JSON"}')
    assert hub.load(Config(hub_file=str(path))).file.name == "In JSON"
    path.write_text("")
    assert hub.load(Config(hub_file=str(path))).file == hub.HubFile()
