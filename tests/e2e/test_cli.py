"""`headrace` as people run it: a process of its own, against a running system."""

import asyncio
import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.docs import pages
from tests.e2e.shell import HEADRACE, Shell, api_key, copy_home, forget
from tests.fixtures.system import EMAIL, PASSWORD, RunningSystem
from tests.waiting import WITHIN_S

pytestmark = pytest.mark.slow
STEP = {"ref": "sum", "appId": "var", "args": {"values": {"gross": "{{ mul $prev.args.net 2 }}"}}}
GATE = {"ref": "sign", "appId": "var", "args": {"values": {"signed": True}}, "needsApproval": True}
BROKEN = {"ref": "oops", "appId": "var", "args": {"values": {"n": "{{ div 1 0 }}"}}}
FULL = {
    "permanentId": "cli-full",
    "name": "Full of settings",
    "enabled": True,
    "category": "finance",
    "execution": {"timeout": 600},
    "layers": [
        STEP,
        {
            **STEP,
            "ref": "again",
            "name": "Again",
            "index": 0,
            "timeout": 7,
            "retry": {"count": 2, "delayMs": 5},
            "filters": [{"leftValue": "{{ $prev.args.net }}", "operator": "gt", "rightValue": 1}],
            "onError": "continue",
        },
    ],
}


@pytest.fixture(scope="module")
def headrace(own_system: RunningSystem, tmp_path_factory: pytest.TempPathFactory) -> Shell:
    shell = Shell(own_system, tmp_path_factory.mktemp("config"))
    # A home that kept no admin: the environment of `up` named one.
    login = shell("login", "--email", EMAIL, environ={"HEADRACE_PASSWORD": PASSWORD})
    assert login.code == 0, login
    assert login.out == f"logged in at {own_system.base_url} as {EMAIL}\n"
    return shell


# ── who ─────────────────────────────────────────────────────────────────────────────────────────────


def test_who_logged_in_is_told_and_only_they_can_read_the_session(
    headrace: Shell, own_system: RunningSystem
) -> None:
    me = headrace.good("whoami", "-o", "json").json
    assert (me["email"], me["role"], me["url"]) == (EMAIL, "admin", own_system.base_url)
    file = headrace.config / "headrace" / "sessions.json"
    assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o600, 0o700)


def test_login_without_arguments_takes_the_secrets_of_the_local_system(
    own_system: RunningSystem, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    copy_home(own_system, home)
    shell = Shell(own_system, tmp_path / "config")
    shell.environ["HEADRACE_HOME"] = str(home)
    assert EMAIL in shell.good("login").out


def test_a_session_ends_with_logout(own_system: RunningSystem, tmp_path: Path) -> None:
    shell = Shell(own_system, tmp_path)
    assert shell("flow", "list").code == 4
    assert shell("login", "--email", EMAIL, environ={"HEADRACE_PASSWORD": PASSWORD}).code == 0
    kept = (tmp_path / "headrace" / "sessions.json").read_text()
    shell.good("flow", "list")
    shell.good("logout")
    assert "headrace login" in shell("whoami").err
    # The session is over at the system too, not only forgotten here.
    (tmp_path / "headrace" / "sessions.json").write_text(kept)
    over = shell("whoami")
    assert (over.code, "UNAUTHORIZED" in over.err, "headrace login" in over.err) == (4, True, True)


def test_a_program_calls_with_an_api_key_and_without_a_login(
    own_system: RunningSystem, tmp_path: Path
) -> None:
    shell = Shell(own_system, tmp_path)
    shell.environ["HEADRACE_API_KEY"] = asyncio.run(api_key(own_system))
    shell.apply("By a program", STEP)
    assert shell.good("flow", "run", "by-a-program", "-a", "net=1", "--watch").code == 0
    assert list(tmp_path.iterdir()) == []
    refused = shell("flow", "list", environ={"HEADRACE_API_KEY": "made.up.key"})
    assert (refused.code, "UNAUTHORIZED" in refused.err) == (4, True)


def test_a_wrong_password_is_refused(own_system: RunningSystem, tmp_path: Path) -> None:
    refused = Shell(own_system, tmp_path)("login", "--email", EMAIL, environ={"HEADRACE_PASSWORD": "wrong"})
    assert (refused.code, refused.out) == (4, "")
    assert "email or password is wrong" in refused.err


def test_a_system_that_is_away_says_how_to_start_one(headrace: Shell, unused_tcp_port: int) -> None:
    url = f"http://127.0.0.1:{unused_tcp_port}"
    away = headrace("login", "--url", url, "--email", EMAIL, environ={"HEADRACE_PASSWORD": "x"})
    assert away.code == 3
    assert url in away.err
    assert "headrace up" in away.err


# ── flows ───────────────────────────────────────────────────────────────────────────────────────────


def test_export_then_apply_changes_nothing(headrace: Shell, tmp_path: Path) -> None:
    file = tmp_path / "flow.json"
    file.write_text(json.dumps(FULL))
    made = headrace.good("flow", "apply", "-f", str(file))
    assert made.out.splitlines()[:3] == [
        "cli-full: create flow", "cli-full: create layer sum", "cli-full: create layer again",
    ]  # fmt: skip
    version = headrace.version("cli-full")
    exported = headrace.good("flow", "export", "cli-full").out
    for content in (exported, json.dumps(FULL)):
        applied = headrace.good("flow", "apply", "-f", "-", said=content)
        assert applied.out == f"cli-full: unchanged, version {version}\n"
    assert headrace.version("cli-full") == version
    headrace.good("flow", "export", "cli-full", "-f", str(file))
    assert file.read_text() == exported


def test_apply_adds_changes_and_removes_until_the_flow_is_its_file(headrace: Shell) -> None:
    headrace.apply("Changing", STEP, GATE)
    new = {"name": "Changing", "category": "b", "layers": [{**STEP, "timeout": 9}, {**STEP, "ref": "late"}]}
    version = headrace.version("changing")
    would = headrace.good("flow", "apply", "--dry-run", "-f", "-", said=json.dumps(new))
    changes = ["update flow: category", "delete layer sign", "update layer sum: timeout", "create layer late"]
    assert would.out.splitlines() == [f"changing: would {change}" for change in changes]
    assert headrace.version("changing") == version
    done = headrace.good("flow", "apply", "-f", "-", said=json.dumps(new))
    assert done.out.splitlines() == [f"changing: {change}" for change in changes] + ["changing: version 7"]
    flow = headrace.good("flow", "show", "changing", "-o", "json").json
    assert [(layer["ref"], layer["index"], layer["timeout"]) for layer in flow["layers"]] == [
        ("sum", 0, 9), ("late", 1, 0),
    ]  # fmt: skip


def test_a_flow_that_was_deleted_is_made_anew_from_its_file_once(headrace: Shell) -> None:
    content = json.dumps({"permanentId": "phoenix", "name": "A bird", "layers": [STEP]})
    headrace.good("flow", "apply", "-f", "-", said=content)
    assert headrace("flow", "delete", "phoenix").code == 2
    headrace.good("flow", "delete", "phoenix", "--yes")
    gone = headrace("flow", "show", "phoenix")
    assert (gone.code, "FLOW_NOT_FOUND" in gone.err) == (1, True)
    assert "phoenix is taken" in headrace.good("flow", "apply", "-f", "-", said=content).err
    assert "phoenix-2: unchanged" in headrace.good("flow", "apply", "-f", "-", said=content).out


def test_a_name_of_several_flows_needs_a_permanent_id(headrace: Shell) -> None:
    for permanent_id in ("twin-a", "twin-b"):
        headrace.apply("Twins", permanentId=permanent_id)
    refused = headrace("flow", "apply", "-f", "-", said='{"name": "Twins"}')
    assert refused.code == 1
    assert "twin-a, twin-b" in refused.err


def test_what_the_api_refuses_is_told_with_its_code(headrace: Shell) -> None:
    flow = {"name": "Unknown module", "layers": [{"ref": "a", "appId": "nonsense"}]}
    refused = headrace("flow", "apply", "-f", "-", said=json.dumps(flow))
    assert refused.code == 1
    assert "VALIDATION_ERROR: appId nonsense" in refused.err


def test_flows_are_listed_as_a_table_and_as_json(headrace: Shell) -> None:
    headrace.apply("Listed", category="list-of-one")
    table = headrace.good("flow", "list", "--category", "list-of-one").out.splitlines()
    assert [line.split() for line in table] == [
        ["FLOW", "ENABLED", "VERSION", "CATEGORY", "NAME"],
        ["listed", "yes", "1", "list-of-one", "Listed"],
    ]
    flows = headrace.good("flow", "list", "--category", "list-of-one", "-o", "json").json
    assert [flow["permanentId"] for flow in flows] == ["listed"]


# ── running ─────────────────────────────────────────────────────────────────────────────────────────


def test_a_run_waits_and_its_exit_code_tells_the_end(headrace: Shell, tmp_path: Path) -> None:
    headrace.apply("Runs", STEP)
    (tmp_path / "args.json").write_text('{"net": 1, "other": null}')
    args = ("--args", f"@{tmp_path / 'args.json'}", "-a", "net=21", "-a", "note=some text")
    ended = headrace.good("flow", "run", "runs", *args, "--wait", "20", "-o", "json").json
    assert (ended["state"], ended["out"]) == ("DONE", {"gross": 42})
    play = headrace.good("play", "show", ended["playId"], "-o", "json").json
    assert play["args"] == {"net": 21, "other": None, "note": "some text"}
    assert [step["ref"] for step in play["layers"]] == ["sum"]
    headrace.apply("Breaks", BROKEN)
    failed = headrace("flow", "run", "breaks", "--wait", "20")
    assert (failed.code, "EXPRESSION_ERROR" in failed.out) == (1, True)
    assert headrace("flow", "run", "nowhere").code == 1


def test_watching_shows_a_play_from_its_beginning_to_its_end(headrace: Shell) -> None:
    headrace.apply("Watched", STEP)
    watched = headrace.good("flow", "run", "watched", "-a", "net=4", "--watch")
    play_id = watched.out.split()[1]
    lines = [line.split() for line in watched.out.splitlines()[1:]]
    assert [(line[1], " ".join(line[2:4])) for line in lines] == [
        ("RUN", "started"), ("RUN", "layer started"), ("DONE", "layer completed"), ("DONE", 'completed {"gross":'),
    ]  # fmt: skip
    # Again, after its end: the same, from the log.
    frames = headrace.good("play", "watch", play_id, "-o", "json").out.splitlines()
    assert [json.loads(frame)["type"] for frame in frames] == [
        "play:started", "play:layer:started", "play:layer:completed", "play:completed",
    ]  # fmt: skip
    headrace.apply("Watched failure", BROKEN)
    assert headrace("flow", "run", "watched-failure", "--watch").code == 1


def test_a_play_that_the_log_has_forgotten_is_told_by_its_end(
    headrace: Shell, own_system: RunningSystem
) -> None:
    headrace.apply("Forgotten", BROKEN)
    play_id = json.loads(headrace("flow", "run", "forgotten", "-w", "20", "-o", "json").out)["playId"]
    # The log forgets after days; by then every reader knows how the play ended.
    headrace.until("FAIL", play_id)
    asyncio.run(forget(own_system, play_id))
    told = headrace("play", "watch", play_id)
    assert (told.code, "no events of this play" in told.err) == (1, True)
    assert "EXPRESSION_ERROR" in told.out


def test_an_approval_is_given_and_refused_by_people(headrace: Shell) -> None:
    headrace.apply("Gated", GATE)
    approved, declined = headrace.play("gated", "-w", "20"), headrace.play("gated", "-w", "20")
    watcher = headrace.start("play", "watch", approved)
    assert watcher.stdout is not None
    while "waiting" not in (line := watcher.stdout.readline()):
        assert line, watcher.communicate()
    assert headrace.good("play", "approve", approved).out.startswith(f"{approved}: sign approved")
    rest, _ = watcher.communicate(timeout=WITHIN_S)
    assert (watcher.returncode, "completed" in rest) == (0, True)
    headrace.good("play", "decline", declined, "sign", "--note", "not like this")
    assert headrace("play", "watch", declined).code == 1
    again = headrace("play", "approve", declined, "sign")
    assert (again.code, "CONFLICT" in again.err) == (1, True)
    assert "no step of it waits" in headrace("play", "approve", declined).err


def test_plays_are_listed_and_cancelled(headrace: Shell) -> None:
    headrace.apply("Cancelled", GATE)
    plays = [headrace.play("cancelled", "-w", "20") for _ in range(2)]
    waiting = headrace.good("play", "list", "--flow", "cancelled", "--state", "WAIT", "-o", "json").json
    assert {play["id"] for play in waiting} == set(plays)
    headrace.good("play", "cancel", *plays)
    table = headrace.good("play", "list", "--flow", "cancelled", "-n", "1").out.splitlines()
    assert [line.split()[1] for line in table] == ["STATE", "FAIL"]
    assert headrace("play", "cancel", plays[0]).code == 1


def test_watching_goes_on_after_a_gateway_died(headrace: Shell, own_system: RunningSystem) -> None:
    headrace.apply("Resumed", GATE)
    play = headrace.play("resumed", "-w", "20")
    watcher = headrace.start("play", "watch", play, "-o", "json")
    assert watcher.stdout is not None
    kinds = [json.loads(watcher.stdout.readline())["type"] for _ in range(2)]
    old = own_system.kill("gateway-0")
    own_system.wait_restarted("gateway-0", old)
    deadline_s = time.monotonic() + WITHIN_S
    fine = {0}
    while (approved := headrace("play", "approve", play)).code not in fine:
        assert approved.code == 3, approved
        assert time.monotonic() < deadline_s, approved
        # What was stored, and not yet applied when the answer came, is applied later, and the repeat refused.
        fine = {0, 1}
    rest, err = watcher.communicate(timeout=WITHIN_S)
    kinds += [json.loads(line)["type"] for line in rest.splitlines()]
    assert kinds == [
        "play:started", "play:waiting", "play:layer:started", "play:layer:completed", "play:completed",
    ]  # fmt: skip
    assert (watcher.returncode, "reconnecting" in err) == (0, True)


def test_watching_everything_goes_on_until_interrupted(headrace: Shell) -> None:
    headrace.apply("Stream", STEP)
    play = headrace.play("stream", "-a", "net=1", "-w", "20")
    watcher = headrace.start("play", "watch", "--flow", "stream", "--since", "0", "-o", "json")
    assert watcher.stdout is not None
    frames = [json.loads(watcher.stdout.readline()) for _ in range(4)]
    assert {frame["playId"] for frame in frames} == {play}
    watcher.send_signal(signal.SIGINT)
    _, err = watcher.communicate(timeout=WITHIN_S)
    assert (watcher.returncode, err) == (130, "")


# ── the bus ─────────────────────────────────────────────────────────────────────────────────────────


def test_the_tap_tells_past_and_coming_events_once_and_in_order(headrace: Shell) -> None:
    headrace.apply("Tapped", STEP)
    flow_id = headrace.good("flow", "show", "tapped", "-o", "json").json["id"]
    plays = [headrace.play("tapped", "-a", "net=1", "-w", "20")]
    tap = headrace.start("tap", "--flow", flow_id, "--since", "1")
    assert tap.stdout is not None
    told = _events_until_end(tap)
    plays.append(headrace.play("tapped", "-a", "net=2", "-w", "20"))
    told += _events_until_end(tap)
    tap.send_signal(signal.SIGINT)
    _, err = tap.communicate(timeout=WITHIN_S)
    assert (tap.returncode, err) == (130, "")
    assert list(dict.fromkeys(event["subject"] for event in told)) == plays
    assert len({event["id"] for event in told}) == len(told)
    places = [int(event["sequence"]) for event in told]
    assert places == sorted(places)
    assert {(event["specversion"], event["stream"]) for event in told} == {("1.0", "PLAYS_0")}
    # From the middle, and no further than asked.
    middle = told[-1]
    again = headrace.good("tap", "--play", plays[1], "--since", middle["sequence"], "--count", "1").json
    assert again["sequence"] == middle["sequence"]
    headrace.apply("Tapped failure", BROKEN)
    headrace("flow", "run", "tapped-failure", "-w", "20")
    failed = headrace.good("tap", "--state", "FAIL", "--since", "1", "--count", "1").json
    assert failed["type"].startswith("headrace.play.")


def test_the_tap_goes_on_after_the_bus_died(headrace: Shell, own_system: RunningSystem) -> None:
    headrace.apply("Dead bus", STEP)
    flow_id = headrace.good("flow", "show", "dead-bus", "-o", "json").json["id"]
    plays = [headrace.play("dead-bus", "-a", "net=1", "-w", "20")]
    tap = headrace.start("tap", "--flow", flow_id, "--since", "1")
    told = _events_until_end(tap)
    old = own_system.kill("nats-0")
    own_system.wait_restarted("nats-0", old)
    deadline_s = time.monotonic() + WITHIN_S
    run = ("flow", "run", "dead-bus", "--key", "after", "-a", "net=2", "-w", "20", "-o", "json")
    while (again := headrace(*run)).code != 0:
        assert time.monotonic() < deadline_s, again
    plays.append(again.json["playId"])
    told += _events_until_end(tap)
    tap.send_signal(signal.SIGINT)
    tap.communicate(timeout=WITHIN_S)
    assert list(dict.fromkeys(event["subject"] for event in told)) == plays
    assert len({event["id"] for event in told}) == len(told)


def test_the_tap_without_a_bus_says_what_it_needs(headrace: Shell, tmp_path: Path) -> None:
    lost = headrace("tap", environ={"HEADRACE_HOME": str(tmp_path)})
    assert (lost.code, "HEADRACE_NATS_URL" in lost.err) == (3, True)


def test_a_reader_that_goes_away_ends_the_tap_quietly(headrace: Shell) -> None:
    headrace.apply("Piped", STEP)
    for number in range(3):
        headrace.play("piped", "-a", f"net={number}", "-w", "20")
    tap = headrace.start("tap", "--since", "1")
    assert tap.stdout is not None
    tap.stdout.close()
    assert tap.stderr is not None
    assert tap.stderr.read() == ""
    tap.stderr.close()
    assert tap.wait(WITHIN_S) == 141


# ── its page ────────────────────────────────────────────────────────────────────────────────────────


def test_the_calls_of_the_page_work(own_system: RunningSystem, tmp_path: Path) -> None:
    copy_home(own_system, tmp_path / ".headrace")
    blocks = [block.text for block in pages.blocks("docs/cli.md") if "run" in block.marks]
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", "\n".join(blocks)],
        cwd=tmp_path,
        env={"PATH": f"{HEADRACE.parent}:{os.environ['PATH']}", "XDG_CONFIG_HOME": str(tmp_path / "config")},
        capture_output=True,
        text=True,
        timeout=3 * WITHIN_S,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert done.stdout.count("invoice-check-cli: unchanged, version 4") == 3


def _events_until_end(tap: "subprocess.Popen[str]") -> list[dict[str, Any]]:
    """Return the events up to the end of a play."""
    assert tap.stdout is not None
    told: list[dict[str, Any]] = []
    deadline_s = time.monotonic() + WITHIN_S
    while time.monotonic() < deadline_s:
        line = tap.stdout.readline()
        assert line, tap.communicate()
        told.append(json.loads(line))
        if told[-1]["type"] == "headrace.play.completed.v1":
            return told
    raise AssertionError(told)
