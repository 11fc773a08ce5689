"""The secrets of an embedded system are made once, kept for their owner alone, and given to those that need them."""

import stat
from pathlib import Path

import pytest

from deploy.local import environment, secrets
from deploy.local.home import Home, read_secret_json


def test_what_is_made_once_stays_the_same(tmp_path: Path) -> None:
    home = Home(tmp_path)
    assert secrets.load(home, {}) == secrets.load(home, {})


def test_only_the_owner_may_read_them(tmp_path: Path) -> None:
    home = Home(tmp_path)
    secrets.load(home, {})
    assert stat.S_IMODE(home.secrets.stat().st_mode) == 0o600


def test_keys_have_the_lengths_the_specification_asks_for(tmp_path: Path) -> None:
    made = secrets.load(Home(tmp_path), {})
    assert len(bytes.fromhex(made[secrets.ENC_KEY_SECRET])) == 128
    assert len(bytes.fromhex(made[secrets.ENC_KEY_SALT])) == 32


def test_a_given_value_wins_and_is_not_written_down(tmp_path: Path) -> None:
    home = Home(tmp_path)
    loaded = secrets.load(home, {"HEADRACE_ADMIN_PASSWORD": "mine"})
    assert loaded[secrets.ADMIN_PASSWORD] == "mine"
    assert secrets.ADMIN_PASSWORD not in read_secret_json(home.secrets)


def test_the_documented_alias_counts(tmp_path: Path) -> None:
    loaded = secrets.load(Home(tmp_path), {"EXTERNAL_JWT_SECRET": "signed-by-this"})
    assert loaded[secrets.JWT_SECRET] == "signed-by-this"


def test_a_made_password_is_shown_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home = Home(tmp_path)
    password = secrets.load(home, {})[secrets.ADMIN_PASSWORD]
    first = capsys.readouterr().err
    secrets.load(home, {})
    second = capsys.readouterr().err
    assert password in first
    assert password not in second
    assert str(home.secrets) in second


def test_only_the_store_is_told_where_the_database_is() -> None:
    values = dict.fromkeys((*secrets.MADE, environment.POSTGRES_DSN), "secret")
    told = {name: environment.of_service(name, {}, values) for name in environment.SERVICES}
    assert [name for name, env in told.items() if environment.POSTGRES_DSN in env] == ["store"]
    assert told["executor"] == told["scheduler"] == {}
    signing = {secrets.JWT_SECRET, secrets.MCP_JWT_SECRET}
    # Channels check callers against tokens that are stored encrypted.
    assert set(told["gateway"]) == signing | {secrets.ENC_KEY_SECRET, secrets.ENC_KEY_SALT}


def test_a_secret_in_the_environment_of_up_reaches_no_service_by_inheritance() -> None:
    environ = {
        "PATH": "/bin",
        "ENC_KEY_SECRET": "x",
        "HEADRACE_POSTGRES_DSN": "x",
        "HEADRACE_ADMIN_PASSWORD": "x",
    }
    assert environment.without_secrets(environ) == {"PATH": "/bin"}
