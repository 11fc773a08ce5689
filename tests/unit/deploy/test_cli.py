"""The command line teaches, and refuses what makes no sense with a sentence."""

import pytest

from deploy.local import cli, up
from deploy.local.errors import CannotStart

COUNTS = dict.fromkeys(cli.SERVICES, 1)


def test_help_shows_how_to_begin(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        cli.main(["--help"])
    assert "headrace up --sample" in capsys.readouterr().out


def test_help_of_up_names_every_variable_it_reads(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        cli.main(["up", "--help"])
    said = capsys.readouterr().out
    names = ("HOME", "PORT", "NATS_URL", "POSTGRES_DSN", "ADMIN_EMAIL", "ADMIN_PASSWORD", "DURABILITY")
    assert [name for name in names if f"HEADRACE_{name}" not in said] == []


def test_no_process_of_a_service_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        cli.main(["up", "--executors", "0"])
    assert "between 1 and 64" in capsys.readouterr().err


def test_rebuild_without_a_system_says_what_it_needs(
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("HEADRACE_HOME", str(tmp_path_factory.mktemp("home")))
    monkeypatch.delenv("HEADRACE_NATS_URL", raising=False)
    monkeypatch.delenv("HEADRACE_POSTGRES_DSN", raising=False)
    assert cli.main(["rebuild"]) == 1
    assert "HEADRACE_NATS_URL and HEADRACE_POSTGRES_DSN not set" in capsys.readouterr().err


def test_a_port_that_is_no_number_is_refused() -> None:
    with pytest.raises(CannotStart, match="HEADRACE_PORT"):
        up.settings({"HEADRACE_PORT": "http"}, COUNTS)


def test_an_unknown_durability_is_refused() -> None:
    with pytest.raises(CannotStart, match="strict or relaxed"):
        up.settings({"HEADRACE_DURABILITY": "hopeful"}, COUNTS)
