"""Where a system is looked for, and how sessions are kept."""

import json
from pathlib import Path

import pytest

from libs.cli.errors import LOGGED_OUT, UNREACHABLE, USAGE, CommandFailed
from libs.cli.places import Places


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"HEADRACE_HOME": str(tmp_path / "home"), "XDG_CONFIG_HOME": str(tmp_path / "config")}


def start(environ: dict[str, str], url: str) -> None:
    """Leave what a running system leaves in its home."""
    run = Path(environ["HEADRACE_HOME"]) / "run"
    run.mkdir(parents=True)
    (run / "url").write_text(f"{url}\n")
    (run / "env.json").write_text('{"HEADRACE_NATS_URL": "nats://127.0.0.1:4333"}')


def test_the_nearest_name_of_a_system_counts(environ: dict[str, str]) -> None:
    Places(environ).keep_session("http://last:1", "s")
    assert Places(environ).url(None) == "http://last:1"
    start(environ, "http://local:2")
    assert Places(environ).url(None) == "http://local:2"
    environ["HEADRACE_URL"] = "http://named:3/"
    assert Places(environ).url(None) == "http://named:3"
    assert Places(environ).url("https://given:4") == "https://given:4"


def test_no_system_says_how_to_start_one(environ: dict[str, str]) -> None:
    with pytest.raises(CommandFailed, match="headrace up") as failed:
        Places(environ).url(None)
    assert failed.value.exit_code == UNREACHABLE


@pytest.mark.parametrize("url", ["localhost:4454", "ftp://x", "http://", "flows"])
def test_what_is_no_url_is_refused(environ: dict[str, str], url: str) -> None:
    with pytest.raises(CommandFailed, match="not a URL") as failed:
        Places(environ).url(url)
    assert failed.value.exit_code == USAGE


def test_sessions_are_kept_apart_and_for_their_owner_only(environ: dict[str, str]) -> None:
    places = Places(environ)
    places.keep_session("http://a:1", "first")
    places.keep_session("http://b:1", "second")
    assert (places.session("http://a:1"), places.session("http://b:1")) == ("first", "second")
    assert places.sessions_file.stat().st_mode & 0o777 == 0o600
    places.drop_session("http://b:1")
    assert places.session("http://a:1") == "first"
    with pytest.raises(CommandFailed, match="headrace login") as failed:
        places.session("http://b:1")
    assert failed.value.exit_code == LOGGED_OUT
    assert [path.name for path in places.sessions_file.parent.iterdir()] == ["sessions.json"]


def test_an_api_key_goes_before_a_session(environ: dict[str, str]) -> None:
    Places(environ).keep_session("http://a:1", "s")
    assert Places(environ).credential("http://a:1") == {"Cookie": "sid=s"}
    with_key = Places({**environ, "HEADRACE_API_KEY": "k"})
    assert with_key.credential("http://b:1") == {"Authorization": "Bearer k"}


def test_without_a_configuration_folder_it_is_the_usual_one(tmp_path: Path) -> None:
    assert Places({"HOME": str(tmp_path)}).sessions_file == tmp_path / ".config/headrace/sessions.json"


@pytest.mark.parametrize("content", ["{", "[]"])
def test_a_file_that_somebody_broke_is_named(environ: dict[str, str], content: str) -> None:
    places = Places(environ)
    places.keep_session("http://a:1", "s")
    places.sessions_file.write_text(content)
    with pytest.raises(CommandFailed, match=r"sessions\.json cannot be read"):
        places.session("http://a:1")


def test_the_bus_is_that_of_the_environment_or_of_the_local_system(environ: dict[str, str]) -> None:
    with pytest.raises(CommandFailed, match="HEADRACE_NATS_URL is not set"):
        Places(environ).nats_url()
    start(environ, "http://local:2")
    assert Places(environ).nats_url() == "nats://127.0.0.1:4333"
    assert Places({**environ, "HEADRACE_NATS_URL": "nats://other:1"}).nats_url() == "nats://other:1"


def test_secrets_of_the_local_system_are_found(environ: dict[str, str]) -> None:
    assert Places(environ).local_secret("HEADRACE_ADMIN_EMAIL") == ""
    start(environ, "http://local:2")
    file = Path(environ["HEADRACE_HOME"]) / "secrets.json"
    file.write_text(json.dumps({"HEADRACE_ADMIN_EMAIL": "a@b.c"}))
    assert Places(environ).local_secret("HEADRACE_ADMIN_EMAIL") == "a@b.c"
