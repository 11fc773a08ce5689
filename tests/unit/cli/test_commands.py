"""Every command teaches itself, refuses what makes no sense, and can be completed."""

import argparse
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.local import cli
from libs.cli import commands, completion, key_words, schedule_words, user_words, words
from libs.common.messages.access import PERMISSIONS
from libs.common.messages.key import SCOPES
from libs.common.messages.play import PLAY_STATES
from libs.common.messages.schedule import MISFIRE_POLICIES, OVERLAP_POLICIES

COMPLETE = """
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
_headrace
printf '%s\\n' "${COMPREPLY[@]}"
"""


def ours() -> dict[str, argparse.ArgumentParser]:
    """Every command of this package by its words."""
    parser = argparse.ArgumentParser(prog="headrace")
    words = parser.add_subparsers()
    for add in commands.COMMANDS:
        add(words)
    return dict(_below((), words))


def _below(
    path: tuple[str, ...], words: "argparse._SubParsersAction[argparse.ArgumentParser]"
) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    for name, parser in words.choices.items():
        yield " ".join((*path, name)), parser
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                yield from _below((*path, name), action)


OURS = ours()


@pytest.mark.parametrize("words", OURS)
def test_help_says_what_a_command_does_with_examples_of_it(words: str) -> None:
    parser = OURS[words]
    assert parser.description
    assert f"headrace {words.split(maxsplit=1)[0]}" in (parser.epilog or "").partition("examples:\n")[2]
    options = [action for action in parser._actions if not isinstance(action, argparse._SubParsersAction)]
    assert [action.dest for action in options if not action.help] == []
    assert max(map(len, parser.format_help().splitlines())) <= 120


def test_the_words_for_choices_are_all_choices() -> None:
    assert set(words.STATES) == set(PLAY_STATES)
    assert tuple(PERMISSIONS) == user_words.ROLES
    assert key_words.SCOPES == SCOPES
    assert schedule_words.MISFIRE_POLICIES == MISFIRE_POLICIES
    assert schedule_words.OVERLAP_POLICIES == OVERLAP_POLICIES


def test_help_imports_nothing_that_takes_long() -> None:
    """What a person waits for at every call, and a shell at every completion."""
    code = "import sys; from deploy.local import cli; cli.parser(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert (
        loaded & {"asyncio", "aiohttp", "msgspec", "nats", "yaml", "importlib.metadata", "subprocess"}
        == set()
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ["flow"],
        ["flow", "list", "--enabled", "maybe"],
        ["flow", "list", "--limit", "0"],
        ["flow", "apply"],
        ["flow", "run", "x", "-a", "net"],
        ["flow", "run", "x", "--wait", "61"],
        ["flow", "run", "x", "--wait", "5", "--watch"],
        ["play", "list", "--state", "GONE"],
        ["tap", "--since", "0"],
        ["tap", "--count", "-1"],
        ["kv", "set", "x"],
        ["kv", "list", "--flow", "a", "--group", "b"],
        ["schedule", "create", "x", "--flow", "f", "--cron", "a", "--every", "b"],
        ["schedule", "create", "x", "--flow", "f", "--jitter", "-1"],
        ["user", "create", "a@b.test", "--role", "owner"],
        ["key", "create", "x", "--scope", "all"],
        ["completion", "tcsh"],
    ],
)
def test_arguments_that_make_no_sense_are_refused(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        cli.main(arguments)
    assert "error:" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["flow", "run", "x", "--args", "[1]"], "must be a JSON object"),
        (["flow", "run", "x", "--args", "{"], "--args is no JSON"),
        (["flow", "run", "x", "--args", "@nowhere.json"], "nowhere.json cannot be read"),
        (["flow", "apply", "-f", "nowhere.json"], "nowhere.json cannot be read"),
        (["tap", "--flow", "invoice.*"], "--flow: invoice.* is no id"),
        (["whoami", "--url", "flows"], "not a URL"),
    ],
)
def test_what_cannot_be_used_is_refused_before_anything_is_called(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(arguments) == 2
    err = capsys.readouterr().err
    assert err.startswith("headrace: ")
    assert said in err


@pytest.mark.parametrize(
    ("given", "value"),
    [
        ("5", 5),
        ("true", True),
        ('"5"', "5"),
        ("[1]", [1]),
        ("a=b", "a=b"),
        ("", ""),
        ("NaN", "NaN"),
        ("0x", "0x"),
    ],
)
def test_a_value_is_json_where_it_is_json_and_text_where_it_is_not(given: str, value: object) -> None:
    arguments = cli.parser().parse_args(["flow", "run", "x", "-a", f"key={given}"])
    assert arguments.arg == [("key", value)]


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        (["fl"], {"flow"}),
        (["flow", "ex"], {"export"}),
        (["flow", "run", "--wa"], {"--wait", "--watch"}),
        (["play", "list", "--state", "F"], {"FAIL", "FILTERED"}),
        (["play", "watch", "-o", ""], {"table", "json", "yaml"}),
        (["flow", "export", "--output", ""], {"json", "yaml"}),
        (["schedule", "b"], {"backfill"}),
        (["user", "role", "ann", "v"], {"viewer"}),
        (["kv", "set", "--sec"], {"--secret"}),
        (["flow", "--help", "del"], {"delete"}),
        (["up", "--sam"], {"--sample"}),
        (["completion", "z"], {"zsh"}),
    ],
)
def test_bash_completes(
    typed: list[str], found: set[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["completion", "bash"]) == 0
    (tmp_path / "headrace.bash").write_text(capsys.readouterr().out)
    done = subprocess.run(
        ["bash", "-euc", COMPLETE, "bash", str(tmp_path / "headrace.bash"), "headrace", *typed],
        capture_output=True,
        text=True,
        check=True,
    )
    assert set(done.stdout.split()) == found


@pytest.mark.parametrize("shell", completion.SHELLS)
def test_each_shell_is_told_every_command(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert [words for words in OURS if words.split()[-1] not in script] == []
    assert all(state in script for state in PLAY_STATES)
