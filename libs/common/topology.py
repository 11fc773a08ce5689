"""Streams and consumers, from one table: created at start, widened when the table grew, never shrunk."""

from collections.abc import Collection
from typing import Any

import structlog

from libs.common import subjects
from libs.common.bus import Bus
from libs.common.config import Config
from libs.common.errors import HeadraceError
from libs.common.messages.request import REQUEST_DAYS_MAX, REQUESTS_PER_CHANNEL_MAX

DAY_NS = 86_400 * 1_000_000_000
SECOND_NS = 1_000_000_000
DUPLICATE_WINDOW_S = 120
MAX_ACK_PENDING = 200_000
DEFINITION_NOUNS = (
    "flow",
    "group",
    "company",
    "user",
    "session",
    "claim",
    "key",
    "module",
    "grant",
    "refresh",
    "pat",
    "tokenkey",
    "attempt",
    "app",
    "snapshot",
    "appkey",
    "review",
    "channel",
)
WORK_CONSUMER = "executor-work"
CONTROL_CONSUMER = "executor-control"
FIRE_CONSUMER = "scheduler-fire"
# A scheduler that dies holds what it was firing for so long; a fire takes milliseconds.
FIRE_ACK_WAIT_S = 2
# Each event of a schedule carries the whole of it: the last one is needed, the others are its recent history.
SCHEDULE_HISTORY_MESSAGES = 50
PLAYS_PREFIX = "PLAYS_"
STREAM_NOT_FOUND = 10059
CONSUMER_NOT_FOUND = 10014

log = structlog.get_logger(__name__)


class TopologyRefused(HeadraceError):
    """What exists on the server would lose something by what the table asks for."""


def streams(config: Config) -> list[dict[str, Any]]:
    """Return the configuration of every stream (design section 3, D4, D7, D16)."""
    common = {
        "storage": "file",
        "retention": "limits",
        "discard": "old",
        "num_replicas": config.replicas,
        "allow_direct": True,
        "allow_msg_ttl": True,
        "duplicate_window": DUPLICATE_WINDOW_S * SECOND_NS,
    }
    plays = [{**common, **_plays(config, shard)} for shard in range(config.shards)]
    definitions = {
        **common,
        "name": subjects.DEFINITIONS,
        "subjects": [f"evt.{noun}.>" for noun in DEFINITION_NOUNS],
        "republish": {"src": "evt.>", "dest": f"{subjects.LIVE_DEFINITIONS}.>"},
    }
    latest = {
        **common,
        "name": subjects.KV,
        "subjects": ["evt.kv.>", "evt.keyuse.>"],
        "max_msgs_per_subject": 1,
    }
    requests = {
        **common,
        "name": subjects.REQUESTS,
        "subjects": ["evt.request.>"],
        "max_age": REQUEST_DAYS_MAX * DAY_NS,
        "max_msgs_per_subject": REQUESTS_PER_CHANNEL_MAX,
    }
    schedules = {
        **common,
        "name": subjects.SCHEDULES,
        "subjects": [f"{prefix}.schedule.>" for prefix in ("cmd", "evt", "tmr")],
        "max_msgs_per_subject": SCHEDULE_HISTORY_MESSAGES,
        "allow_msg_schedules": True,
        "allow_atomic": True,
        "republish": {"src": "evt.schedule.>", "dest": "live.schedule.>"},
    }
    payloads = {
        **common,
        "name": subjects.PAYLOADS,
        "subjects": ["payload.>"],
        "max_msgs_per_subject": 1,
        # Longer than any message that names them: writers renew what is older than an hour.
        "max_age": _days_ns(config.log_days + 1),
    }
    return [*plays, definitions, latest, requests, schedules, payloads]


def _plays(config: Config, shard: int) -> dict[str, Any]:
    of_plays = [f"{prefix}.play.{shard}.>" for prefix in ("cmd", "evt", "tmr")]
    age_ns = _days_ns(config.log_days)
    return {
        "name": subjects.plays_stream(shard),
        "subjects": [*of_plays, f"evt.lane.{shard}.>"],
        "max_age": age_ns,
        # No server remembers ids for longer than messages.
        "duplicate_window": min(DUPLICATE_WINDOW_S * SECOND_NS, age_ns),
        "allow_msg_schedules": True,
        "allow_atomic": True,
        "republish": {"src": f"evt.play.{shard}.>", "dest": f"live.play.{shard}.>"},
    }


def _days_ns(days: float) -> int:
    return int(days * DAY_NS)


def consumers(config: Config) -> list[tuple[str, dict[str, Any]]]:
    """Return the durable consumers as (stream, configuration): work and control, disjoint (D4), and the fires."""
    table = []
    for shard in range(config.shards):
        for name, verbs in ((WORK_CONSUMER, subjects.WORK_VERBS), (CONTROL_CONSUMER, subjects.CONTROL_VERBS)):
            consumer = {
                "durable_name": name,
                "filter_subjects": [subjects.shard_commands(shard, verb) for verb in verbs],
                "deliver_policy": "all",
                "ack_policy": "explicit",
                "ack_wait": int(config.ack_wait_s * SECOND_NS),
                "max_deliver": -1,
                "max_ack_pending": MAX_ACK_PENDING,
                "num_replicas": config.replicas,
            }
            table.append((subjects.plays_stream(shard), consumer))
    fires = {
        "durable_name": FIRE_CONSUMER,
        "filter_subjects": ["cmd.schedule.*.*.fire"],
        "deliver_policy": "all",
        "ack_policy": "explicit",
        "ack_wait": FIRE_ACK_WAIT_S * SECOND_NS,
        "max_deliver": -1,
        "max_ack_pending": MAX_ACK_PENDING,
        "num_replicas": config.replicas,
    }
    return [*table, (subjects.SCHEDULES, fires)]


async def ensure(bus: Bus, config: Config) -> None:
    """Create what is missing and widen what is narrower than the table; every service calls this at start.

    What is wider is a newer release's, and stays as it is. Raises TopologyRefused when the table would drop a subject
    or a durable consumer's filter all the same, or strand plays.
    """
    if not config.shards_change_allowed:
        await _refuse_other_shards(bus, config.shards)
    for stream in streams(config):
        await _ensure_stream(bus, stream)
    for stream_name, consumer in consumers(config):
        await _ensure_consumer(bus, stream_name, consumer)


async def _refuse_other_shards(bus: Bus, shards: int) -> None:
    """Refuse another number of shards than there are, unless they are empty: a play's shard is a hash modulo it."""
    wanted = {subjects.plays_stream(shard) for shard in range(shards)}
    present = await _plays_streams(bus)
    if not present or present.keys() == wanted or not any(present.values()):
        return
    # Another service may just be creating them.
    present = await _plays_streams(bus)
    if present.keys() != wanted:
        raise TopologyRefused(
            f"HEADRACE_SHARDS is {shards}, and the log holds plays of {len(present)} shards: open plays would be "
            "stranded. Let them end, then start once with HEADRACE_SHARDS_CHANGE_ALLOWED=1"
        )


async def _plays_streams(bus: Bus) -> dict[str, int]:
    """Return the streams of plays with how many messages each holds."""
    answer = await bus.api("STREAM.LIST", {"offset": 0, "subject": "evt.play.>"})
    if "error" in answer:
        raise TopologyRefused(f"streams: {answer['error'].get('description')}")
    return {
        stream["config"]["name"]: int(stream["state"]["messages"])
        for stream in answer.get("streams") or ()
        if stream["config"]["name"].startswith(PLAYS_PREFIX)
    }


async def _ensure_stream(bus: Bus, wanted: dict[str, Any]) -> None:
    name = wanted["name"]
    info = await bus.api(f"STREAM.INFO.{name}")
    if "error" in info:
        if info["error"].get("err_code") != STREAM_NOT_FOUND:
            raise TopologyRefused(f"stream {name}: {info['error'].get('description')}")
        await _call(bus, f"STREAM.CREATE.{name}", wanted, f"stream {name}")
        return
    present = info["config"]
    if _is_wider(name, present.get("subjects", ()), wanted["subjects"]):
        return
    if _shrinks_age(present.get("max_age", 0), wanted.get("max_age", 0)):
        # Fewer days are a wish the operator states by hand, for they delete history at once.
        log.warning("log_age_kept", stream=name, days=present["max_age"] / DAY_NS)
        wanted = {**wanted, "max_age": present["max_age"]}
    if any(present.get(key) != value for key, value in wanted.items()):
        await _call(bus, f"STREAM.UPDATE.{name}", {**present, **wanted}, f"stream {name}")


def _is_wider(what: str, present: Collection[str], wanted: Collection[str]) -> bool:
    """Tell whether a newer release made it for more than this one knows: then it is left as it is (ADR 40).

    Raises TopologyRefused when it lacks something as well: it is of neither's making.
    """
    more, less = set(present) - set(wanted), set(wanted) - set(present)
    if not more:
        return False
    if less:
        raise TopologyRefused(f"{what} has {sorted(more)}, which would be dropped, and lacks {sorted(less)}")
    log.warning("topology_of_a_newer_release", what=what, more=sorted(more))
    return True


def _shrinks_age(present_ns: int, wanted_ns: int) -> bool:
    return wanted_ns != 0 and (present_ns == 0 or wanted_ns < present_ns)


async def _ensure_consumer(bus: Bus, stream: str, wanted: dict[str, Any]) -> None:
    name = wanted["durable_name"]
    info = await bus.api(f"CONSUMER.INFO.{stream}.{name}")
    if "error" not in info:
        present = info["config"]
        filters = present.get("filter_subjects") or [present.get("filter_subject", "")]
        if _is_wider(f"{stream} {name}", filters, wanted["filter_subjects"]):
            return
        if all(present.get(key) == value for key, value in wanted.items()):
            return
    elif info["error"].get("err_code") != CONSUMER_NOT_FOUND:
        raise TopologyRefused(f"consumer {name} on {stream}: {info['error'].get('description')}")
    body = {"stream_name": stream, "config": wanted, "action": ""}
    await _call(bus, f"CONSUMER.CREATE.{stream}.{name}", body, f"consumer {name} on {stream}")


async def _call(bus: Bus, subject: str, body: dict[str, Any], what: str) -> None:
    answer = await bus.api(subject, body)
    if "error" in answer:
        raise TopologyRefused(f"{what}: {answer['error'].get('description')}")
    log.info("topology_ensured", what=what)
