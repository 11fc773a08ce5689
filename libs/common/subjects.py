"""Every subject and stream name of the bus, spelled once (design section 3, docs/bus.md).

A play's subjects are `<cmd|evt|tmr|live>.play.<shard>.<company>.<flow>.<play>.<last>`, where last is the command's
verb, the state after the commit, or `wake`.
"""

import zlib
from typing import NamedTuple

DEFINITIONS = "DEFINITIONS"
SCHEDULES = "SCHEDULES"
# Keeps the newest message of each subject and nothing older (ADR 23).
KV = "KV"
# What came in over channels; forgets by age and number.
REQUESTS = "REQUESTS"
# Keeps the newest copy of each chunk of a big value.
PAYLOADS = "PAYLOADS"
WORK_VERBS = ("start", "wake", "release", "revive", "carry", "child")
CONTROL_VERBS = ("approve", "cancel", "hold", "resume", "retry")
PLAY_STATES_TERMINAL = frozenset({"DONE", "FAIL", "SKIP", "FILTERED"})

LIVE_DEFINITIONS = "live.def"
PROJECTED = "ctl.projected"  # .<stream>: a store tells how far its projection is


class PlayKey(NamedTuple):
    """Where a play lives: the tokens that all its subjects share."""

    shard: int
    company_id: str
    flow_id: str
    play_id: str

    def command(self, verb: str) -> str:
        """Return the subject for a command such as `start` or `cancel`."""
        return f"cmd.play.{self.shard}.{self.company_id}.{self.flow_id}.{self.play_id}.{verb}"

    def event(self, state: str) -> str:
        """Return the subject for a commit that leaves the play in this state."""
        return f"evt.play.{self.shard}.{self.company_id}.{self.flow_id}.{self.play_id}.{state}"

    @property
    def events(self) -> str:
        """Return the wildcard for all commits of this play; what optimistic concurrency is checked on (D3)."""
        return f"evt.play.{self.shard}.{self.company_id}.{self.flow_id}.{self.play_id}.*"

    @property
    def timer(self) -> str:
        """Return the subject of this play's one durable timer (D4)."""
        return f"tmr.play.{self.shard}.{self.company_id}.{self.flow_id}.{self.play_id}.wake"

    @property
    def nudge(self) -> str:
        """Return the core subject on which the driver of this play listens."""
        return f"ctl.play.{self.play_id}"

    @property
    def live(self) -> str:
        """Return the wildcard for the republished commits of this play (D9)."""
        return f"live.play.{self.shard}.{self.company_id}.{self.flow_id}.{self.play_id}.*"


class LaneKey(NamedTuple):
    """Where a lane lives: the slots of one flow, or (`_`) of a whole company."""

    shard: int
    company_id: str
    flow_id: str

    @property
    def events(self) -> str:
        """Return the wildcard for all commits of this lane; what optimistic concurrency is checked on (D3)."""
        return f"evt.lane.{self.shard}.{self.company_id}.{self.flow_id}.*"

    @property
    def step(self) -> str:
        """Return the subject of a commit that says what changed."""
        return f"evt.lane.{self.shard}.{self.company_id}.{self.flow_id}.step"

    @property
    def whole(self) -> str:
        """Return the subject of a commit that holds the whole lane as well: reading begins at the last one."""
        return f"evt.lane.{self.shard}.{self.company_id}.{self.flow_id}.whole"


def lane_key(company_id: str, flow_id: str, *, shards: int) -> LaneKey:
    """Return where a lane lives, given how many shards there are."""
    return LaneKey(shard_of(f"{company_id}.{flow_id}", shards), company_id, flow_id)


def shard_of(play_id: str, shards: int) -> int:
    """Return the shard of a play: a hash of its id, the same in every process and release."""
    return zlib.crc32(play_id.encode()) % shards if shards > 1 else 0


def play_key(company_id: str, flow_id: str, play_id: str, *, shards: int) -> PlayKey:
    """Return where this play lives, given how many shards there are."""
    return PlayKey(shard_of(play_id, shards), company_id, flow_id, play_id)


def parse_play(subject: str) -> tuple[PlayKey, str]:
    """Split any play subject into its key and its last token (verb or state).

    Raises ValueError when the subject is not a play's.
    """
    _, noun, shard, company_id, flow_id, play_id, last = subject.split(".")
    if noun != "play":
        raise ValueError(f"not a play subject: {subject}")
    return PlayKey(int(shard), company_id, flow_id, play_id), last


def plays_stream(shard: int) -> str:
    """Return the stream that holds this shard's commands, commits and timers."""
    return f"PLAYS_{shard}"


def shard_events(shard: int) -> str:
    """Return the wildcard for all commits of a shard."""
    return f"evt.play.{shard}.>"


def shard_starts(shard: int) -> str:
    """Return the wildcard for all start commands of a shard."""
    return f"cmd.play.{shard}.*.*.*.start"


def shard_commands(shard: int, verb: str) -> str:
    """Return the wildcard for all commands of one verb of a shard."""
    return f"cmd.play.{shard}.*.*.*.{verb}"


def company_events(shard: int, company_id: str) -> str:
    """Return the wildcard for all commits of one company in a shard, as stored."""
    return f"evt.play.{shard}.{company_id}.>"


def live_flow(company_id: str, flow_id: str) -> str:
    """Return the wildcard for republished commits of all plays of one flow, over all shards."""
    return f"live.play.*.{company_id}.{flow_id}.>"


def live_company(company_id: str) -> str:
    """Return the wildcard for republished commits of all plays of one company."""
    return f"live.play.*.{company_id}.>"


def history(shard: int, company_id: str, *, flow_id: str = "*", play_id: str = "*") -> str:
    """Return the wildcard for a company's stored commits in a shard, narrowed to a flow or a play."""
    return f"evt.play.{shard}.{company_id}.{flow_id}.{play_id}.*"


def start_of(shard: int, company_id: str, play_id: str) -> str:
    """Return the wildcard for a play's start command when its flow is not known."""
    return f"cmd.play.{shard}.{company_id}.*.{play_id}.start"


def tail(subject: str) -> tuple[str, str]:
    """Return the play and the last token (verb or state) of a play's subject; what a busy handler needs."""
    _, play_id, last = subject.rsplit(".", 2)
    return play_id, last


def definition(noun: str, company_id: str, definition_id: str) -> str:
    """Return the subject whose last message is this definition (D7)."""
    return f"evt.{noun}.{company_id}.{definition_id}"


def live_definition(noun: str) -> str:
    """Return the wildcard on which changed definitions of one noun are republished."""
    return f"{LIVE_DEFINITIONS}.{noun}.>"


def stored_definition(live_subject: str) -> str:
    """Return the subject under which a republished definition is stored."""
    return "evt" + live_subject[len(LIVE_DEFINITIONS) :]


def claim(company_id: str, kind: str, name: str) -> str:
    """Return the subject that holds who owns a unique name; the first append wins (D3)."""
    return f"evt.claim.{company_id}.{kind}.{name}"


def session(digest: str) -> str:
    """Return the subject that holds an open session, by the SHA-256 of its id."""
    return f"evt.session.{digest}"


def kv(company_id: str, scope: str, scope_key: str, entry_id: str) -> str:
    """Return the subject whose last message is this KV entry; `-` stands for no scope key."""
    return f"evt.kv.{company_id}.{scope}.{scope_key or '-'}.{entry_id}"


def payload_chunk(company_id: str, digest: str, place: int) -> str:
    """Return the subject of one chunk of a big value of a company (design D13)."""
    return f"payload.{company_id}.{digest}.{place}"


def payload_chunks(company_id: str, digest: str) -> str:
    """Return the wildcard for all chunks of a big value."""
    return f"payload.{company_id}.{digest}.*"


def key_use(company_id: str, key_id: str) -> str:
    """Return the subject whose last message tells when an API key was last seen in use."""
    return f"evt.keyuse.{company_id}.{key_id}"


def requests(company_id: str, channel_id: str) -> str:
    """Return the subject of the records of what a channel was asked."""
    return f"evt.request.{company_id}.{channel_id}"


class ScheduleKey(NamedTuple):
    """Where a schedule lives: the tokens that all its subjects share."""

    company_id: str
    schedule_id: str

    @property
    def events(self) -> str:
        """Return the subject of its events; the last one is the schedule."""
        return f"evt.schedule.{self.company_id}.{self.schedule_id}"

    @property
    def timer(self) -> str:
        """Return the subject of its one durable timer (D4)."""
        return f"tmr.schedule.{self.company_id}.{self.schedule_id}"

    @property
    def fire(self) -> str:
        """Return the subject of the command that its timer sends."""
        return f"cmd.schedule.{self.company_id}.{self.schedule_id}.fire"


def parse_fire(subject: str) -> ScheduleKey:
    """Return whose fire command this is. Raises ValueError when it is none."""
    _, noun, company_id, schedule_id, verb = subject.split(".")
    if noun != "schedule" or verb != "fire":
        raise ValueError(f"not a fire command: {subject}")
    return ScheduleKey(company_id, schedule_id)


def query(noun: str) -> str:
    """Return the core request subject for queries about a noun, answered by any store."""
    return f"qry.{noun}"


def command(noun: str) -> str:
    """Return the core request subject for commands on a noun that stores or schedulers decide."""
    return f"cmd.{noun}"
