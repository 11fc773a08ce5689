"""`headrace kv`, `schedule`, `group`, `user`, `key`: what people define, from the command line."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.shell import Shell
from tests.fixtures.system import RunningSystem

pytestmark = pytest.mark.slow
STEP = {"ref": "sum", "appId": "var", "args": {"values": {"gross": "{{ mul $prev.args.net 2 }}"}}}


# ── files ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("ending", ["json", "yaml"])
def test_a_flow_goes_to_a_file_and_back_unchanged(headrace: Shell, tmp_path: Path, ending: str) -> None:
    awkward: list[Any] = [
        "yes",
        "1e5",
        "007",
        "12:30",
        "2026-01-31",
        "",
        "a\nb\n",
        "x: y",
        "# no",
        1e20,
        None,
    ]
    layer = {**STEP, "args": {"values": {"odd": awkward, "{{ x }}": {"deep": [[]]}}}}
    headrace.apply(f"Round {ending}", layer, category="yes")
    version = headrace.version(f"round-{ending}")
    file = tmp_path / f"flow.{ending}"
    headrace.good("flow", "export", f"round-{ending}", "-f", str(file))
    assert (file.read_text()[0] == "{") == (ending == "json")
    said = headrace.good("flow", "export", f"round-{ending}", "-o", ending).out
    assert said == file.read_text()
    applied = headrace.good("flow", "apply", "-f", str(file))
    assert applied.out == f"round-{ending}: unchanged, version {version}\n"
    assert headrace.version(f"round-{ending}") == version


def test_a_yaml_file_states_a_flow(headrace: Shell) -> None:
    content = """
name: From YAML
layers:
  - ref: greeting
    appId: template
    args: {template: "Hello {{ .who }}", data: {who: you}}
"""
    headrace.good("flow", "apply", "-f", "-", said=content)
    ended = headrace.good("flow", "run", "from-yaml", "-w", "20", "-o", "yaml").out
    assert "state: DONE\n" in ended
    refused = headrace("flow", "apply", "-f", "-", said="name: x\nname: y\n")
    assert (refused.code, "the key name stands twice (line 2" in refused.err) == (2, True)
    refused = headrace("flow", "apply", "-f", "-", said="name: [x]\n")
    assert (refused.code, "$.name" in refused.err) == (2, True)


# ── kv ──────────────────────────────────────────────────────────────────────────────────────────────


def test_kv_entries_are_set_read_and_deleted(headrace: Shell) -> None:
    assert headrace.good("kv", "set", "rates", '{"EUR": 1.5}').out == 'rates = {"EUR": 1.5}\n'
    assert json.loads(headrace.good("kv", "get", "rates").out) == {"EUR": 1.5}
    headrace.good("kv", "set", "greeting", "Hello")
    headrace.good("kv", "set", "number", "5", "--text")
    assert headrace.good("kv", "get", "greeting").out == "Hello\n"
    assert headrace.good("kv", "get", "number", "-o", "json").json["value"] == "5"
    listed = headrace.good("kv", "list", "--global", "--prefix", "gre", "-o", "json").json
    assert [(entry["key"], entry["scope"]) for entry in listed] == [("greeting", "global")]
    assert headrace("kv", "delete", "greeting").code == 2
    headrace.good("kv", "delete", "greeting", "--yes")
    gone = headrace("kv", "get", "greeting")
    assert (gone.code, "KV_NOT_FOUND" in gone.err) == (1, True)


def test_kv_entries_belong_to_a_flow_or_a_group(headrace: Shell) -> None:
    headrace.apply("Scoped", STEP)
    headrace.good("group", "create", "Scopes")
    headrace.good("kv", "set", "shared", "everybody's")
    headrace.good("kv", "set", "shared", "the flow's", "--flow", "scoped")
    headrace.good("kv", "set", "shared", "the group's", "--group", "Scopes")
    said = [
        headrace.good("kv", "get", "shared", *of).out
        for of in ([], ["--flow", "scoped"], ["--group", "Scopes"])
    ]
    assert said == ["everybody's\n", "the flow's\n", "the group's\n"]
    everywhere = headrace.good("kv", "list", "--prefix", "shared", "-o", "json").json
    assert sorted(entry["scope"] for entry in everywhere) == ["flow", "flow_group", "global"]
    assert headrace("kv", "get", "shared", "--flow", "nowhere").code == 1


def test_a_secret_is_given_through_a_file_and_never_shown(headrace: Shell) -> None:
    headrace.good("kv", "set", "token", "--file", "-", "--secret", said="s3cret-value\n")
    told = headrace("kv", "get", "token")
    assert (told.code, "is secret" in told.err) == (1, True)
    for form in ("table", "json", "yaml"):
        assert "s3cret-value" not in headrace.good("kv", "list", "-o", form).out
    headrace.good("kv", "set", "token", "open", "--no-secret")
    assert headrace.good("kv", "get", "token").out == "open\n"


# ── schedules ───────────────────────────────────────────────────────────────────────────────────────


def test_a_schedule_is_made_previewed_changed_and_deleted(headrace: Shell) -> None:
    headrace.apply("Timed", STEP)
    made = headrace.good(
        "schedule", "create", "nightly", "--flow", "timed", "--cron", "0 3 * * *", "--timezone", "Europe/Berlin",
        "--overlap", "skip", "-a", "net=2", "-o", "json",
    ).json  # fmt: skip
    assert (made["cron"], made["overlapPolicy"], made["args"]) == ("0 3 * * *", "skip", {"net": 2})
    coming = headrace.good("schedule", "preview", "nightly", "-n", "3", "-o", "json").json
    assert [entry["at"] for entry in coming] == sorted({entry["at"] for entry in coming})
    assert len(coming) == 3
    changed = headrace.good("schedule", "update", "nightly", "--every", "6h", "--disable", "-o", "json").json
    assert (changed["cron"], changed["every"], changed["enabled"]) == (None, "6h", False)
    row = headrace.good("schedule", "list", "--flow", "timed").out.splitlines()[1]
    assert (row.split()[:2], row.endswith("every 6h")) == (["nightly", "no"], True)
    assert headrace("schedule", "update", "nightly").code == 2
    assert headrace("schedule", "create", "bad", "--flow", "timed", "--cron", "nonsense").code == 1
    headrace.good("schedule", "delete", "nightly", "--yes")
    assert "no schedule nightly" in headrace("schedule", "show", "nightly").err


def test_a_schedule_is_run_paused_resumed_and_backfilled(headrace: Shell) -> None:
    headrace.apply("Filled", STEP)
    every = ("--cron", "0 0 * * *", "-a", "net=1")
    schedule_id = headrace.good(
        "schedule", "create", "daily", "--flow", "filled", *every, "-o", "json"
    ).json["id"]  # fmt: skip
    play = headrace.good("schedule", "run", "daily", "-o", "json").json["playId"]
    headrace.until("DONE", play)
    paused = headrace.good("schedule", "pause", schedule_id, "--note", "month's end", "-o", "json").json
    assert (paused["enabled"], paused["note"]) == (False, "month's end")
    assert headrace.good("schedule", "resume", "daily", "-o", "json").json["enabled"] is True
    span = ("--from", "2026-01-01T00:00:00Z", "--to", "2026-01-04T00:00:00Z", "--in-order")
    headrace.good("schedule", "backfill", "daily", *span)
    headrace.until_listed(4, "schedule", "plays", "daily")


# ── groups, users, keys ─────────────────────────────────────────────────────────────────────────────


def test_groups_are_made_renamed_and_deleted(headrace: Shell) -> None:
    made = headrace.good("group", "create", "finance", "--index", "2", "-o", "json").json
    changed = headrace.good("group", "update", "finance", "--name", "accounting", "-o", "json").json
    assert (changed["id"], changed["index"]) == (made["id"], 2)
    assert "accounting" in headrace.good("group", "list").out
    headrace.good("group", "delete", made["id"], "--yes")
    assert "accounting" not in headrace.good("group", "list").out
    assert headrace("group", "update", "accounting").code == 2


def test_users_are_made_given_a_role_and_disabled(
    headrace: Shell, shared_system: RunningSystem, tmp_path: Path
) -> None:
    email = "ann@example.test"
    made = headrace.good("user", "create", email, "--name", "Ann", "-o", "json").json
    assert (made["role"], len(made["password"]) > 20) == ("viewer", True)
    ann = Shell(shared_system, tmp_path)
    ann.environ["HEADRACE_PASSWORD"] = made["password"]
    ann.good("login", "--email", email)
    assert ann("user", "list").code == 1
    headrace.good("user", "role", email, "admin")
    assert email in ann.good("user", "list", "--role", "admin").out
    assert headrace("user", "disable", email).code == 2
    headrace.good("user", "disable", email, "--yes")
    assert ann("whoami").code == 4
    headrace.good("user", "enable", email)
    headrace.good("user", "reset-password", email, "--password-file", "-", said="another-long-password\n")
    ann.environ["HEADRACE_PASSWORD"] = "another-long-password"
    ann.good("login", "--email", email)


def test_keys_are_made_used_and_revoked(
    headrace: Shell, shared_system: RunningSystem, tmp_path: Path
) -> None:
    token = headrace.good("key", "create", "ci", "-o", "json").json["token"]
    robot = Shell(shared_system, tmp_path)
    robot.environ["HEADRACE_API_KEY"] = token
    robot.good("flow", "list")
    assert "ci" in headrace.good("key", "list").out
    assert token not in headrace.good("key", "list", "--all", "-o", "json").out
    headrace.good("key", "revoke", "ci", "--yes")
    assert robot("flow", "list").code == 4
    assert "no api-key ci" in headrace("key", "revoke", "ci", "--yes").err
    agent = headrace.good("key", "create", "agent", "--scope", "mcp", "-o", "json").json
    assert agent["scopes"] == ["mcp"]
