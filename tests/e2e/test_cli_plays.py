"""`headrace play hold|resume|retry|replay`, and completion in a shell, as people use them."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.e2e.shell import HEADRACE, Shell
from tests.waiting import WITHIN_S

pytestmark = pytest.mark.slow
GATE = {"ref": "sign", "appId": "var", "args": {"values": {"signed": True}}, "needsApproval": True}
SUM = {"ref": "sum", "appId": "var", "args": {"values": {"gross": "{{ mul $prev.args.net 2 }}"}}}
# As the pages say; then what was typed is completed.
COMPLETE = """
source <("$1" completion bash); shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _headrace; printf '%s\\n' "${COMPREPLY[@]}"
"""


def step_of(headrace: Shell, play: str, ref: str) -> dict[str, object]:
    layers = headrace.good("play", "show", play, "-o", "json").json["layers"]
    return next(layer for layer in layers if layer["ref"] == ref)


def test_plays_are_held_and_go_on_when_they_are_resumed(headrace: Shell) -> None:
    headrace.apply("Held", GATE)
    plays = [headrace.play("held", "-w", "20") for _ in range(2)]
    held = headrace.good("play", "hold", *plays, "--note", "until the audit is over")
    assert held.out.splitlines() == [f"{play}: on hold, ON_HOLD" for play in plays]
    for play in plays:
        headrace.until("ON_HOLD", play)
    assert headrace("play", "hold", "0" * 24).code == 1
    resumed = headrace.good("play", "resume", plays[0])
    assert resumed.out.startswith(f"{plays[0]}: resumed, ")
    headrace.good("play", "approve", plays[0])
    headrace.until("DONE", plays[0])
    assert headrace.good("play", "show", plays[1], "-o", "json").json["state"] == "ON_HOLD"
    headrace.good("play", "cancel", plays[1])
    refused = headrace("play", "resume", plays[0])
    assert (refused.code, "CONFLICT" in refused.err) == (1, True)


def test_a_failed_play_is_retried_from_where_it_failed(headrace: Shell) -> None:
    quotient = {"ref": "quotient", "appId": "var", "args": {"values": {"n": "{{ div 6 $kv.divisor }}"}}}
    headrace.apply("Retried", {**SUM, "index": 0}, {**quotient, "index": 1})
    headrace.good("kv", "set", "divisor", "0", "--flow", "retried")
    failed = headrace("flow", "run", "retried", "-a", "net=2", "-w", "20", "-o", "json")
    play = failed.json["playId"]
    assert (failed.code, failed.json["errorCode"]) == (1, "EXPRESSION_ERROR")
    headrace.until("FAIL", play)
    done = step_of(headrace, play, "sum")
    headrace.good("kv", "set", "divisor", "3", "--flow", "retried")
    assert headrace.good("play", "retry", play, "--note", "mended").out.startswith(f"{play}: retried, ")
    headrace.until("DONE", play)
    assert step_of(headrace, play, "quotient")["out"] == {"n": 2}
    assert step_of(headrace, play, "sum") == done
    again = headrace("play", "retry", play)
    assert (again.code, "CONFLICT" in again.err) == (1, True)


def test_a_play_is_repeated_as_a_new_one_from_a_step_on(headrace: Shell) -> None:
    after = {"ref": "after", "appId": "var", "args": {"values": {"of": "{{ $prev.sum.gross }}"}}}
    headrace.apply("Repeated", {**SUM, "index": 0}, {**after, "index": 1})
    first = headrace.play("repeated", "-a", "net=2", "-w", "20")
    headrace.until("DONE", first)

    def repeated(*arguments: str) -> str:
        said = headrace.good("play", "replay", first, *arguments).out
        assert f"repeats {first}" in said
        new = said.partition(":")[0]
        assert new != first
        headrace.until("DONE", new)
        return new

    same, other, late = repeated(), repeated("-a", "net=5"), repeated("--from", "after")
    assert step_of(headrace, same, "after")["out"] == {"of": 4}
    assert step_of(headrace, other, "after")["out"] == {"of": 10}
    assert step_of(headrace, late, "after")["out"] == {"of": 4}
    assert repeated("--key", "once") == repeated("--key", "once")
    unknown = headrace("play", "replay", first, "--from", "nowhere")
    assert (unknown.code, "nowhere" in unknown.err) == (1, True)


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        (["play", "re"], {"resume", "retry", "replay"}),
        (["play", "replay", "--fr"], {"--from"}),
        (["play", "hold", "--no"], {"--note"}),
    ],
)
def test_a_shell_that_read_the_script_completes(typed: list[str], found: set[str], tmp_path: Path) -> None:
    done = subprocess.run(
        ["bash", "-euc", COMPLETE, "bash", str(HEADRACE), "headrace", *typed],
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
        check=True,
    )
    assert set(done.stdout.split()) == found
