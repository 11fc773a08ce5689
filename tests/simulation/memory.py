"""What commits refer to and what snapshots hold, checked at the moment they are stored (designs D13 and D16)."""

import hashlib
from typing import TYPE_CHECKING, Any

import msgspec

from libs.common.codec import Commit, company_of
from libs.common.messages import play as m
from libs.common.messages.payload import PayloadRef
from libs.common.subjects import PAYLOADS, payload_chunks
from services.executor.play import Play
from services.executor.play_snapshot import play_of
from tests.simulation.streams import PLAYS
from tests.spec import without_memory

if TYPE_CHECKING:
    from tests.simulation.server import Server
    from tests.simulation.streams import Kept


class _NotDurable(Exception):
    """A message refers to a value whose bytes are not stored."""


def whole(server: "Server", commit: Commit) -> tuple[Commit, str]:
    """Return a commit with its big values in their places, and the digest of one that is not stored, else ""."""
    try:
        return _whole(server, commit), ""
    except _NotDurable as error:
        return commit, str(error)


def was_sent_anew(server: "Server", commands: dict[int, tuple[str, str, Any]], kept: "Kept") -> bool:
    """Tell whether an executor stored this command again, and the new message is not acknowledged yet.

    Only what comes a second time is stored again, so never before `ack_wait` is over; a plain duplicate comes at once.
    """
    id, messages = commands[kept.sequence][1], server.streams[PLAYS].messages
    unacked = {sequence for consumer in server.consumers.values() for sequence in consumer.unacked}
    return any(
        known[1] == id and later in unacked and messages[later].at >= kept.at + server.ack_wait_s
        for later, known in commands.items()
        if later > kept.sequence
    )


def is_unacked(server: "Server", commands: dict[int, tuple[str, str, Any]], id: str, *, besides: int) -> bool:
    """Tell whether another message than this one, with a command of this id, is not acknowledged yet."""
    unacked = {sequence for consumer in server.consumers.values() for sequence in consumer.unacked}
    return any(commands[sequence][1] == id for sequence in unacked & commands.keys() - {besides})


def _whole(server: "Server", commit: Commit) -> Commit:
    company_id = company_of(commit.source)
    events = []
    for event in commit.events:
        fields = {name: _value(server, company_id, ref) for name, ref in (event.payloads or {}).items()}
        events.append(msgspec.structs.replace(event, **fields, payloads=None) if fields else event)
    return msgspec.structs.replace(commit, events=tuple(events))


def _value(server: "Server", company_id: str, ref: PayloadRef) -> object:
    chunks = server.streams[PAYLOADS].select(payload_chunks(company_id, ref.digest))
    data = b"".join(chunk.data for chunk in chunks)
    if hashlib.sha256(data).hexdigest() != ref.digest:
        raise _NotDurable(ref.digest)
    return msgspec.json.decode(data)


def differs(commit: Commit, play: Play) -> str:
    """Return what a commit's snapshot says differently from the history up to and with it, "" when nothing."""
    snapshot = commit.events[-1]
    if not isinstance(snapshot, m.PlaySnapshot):
        return ""
    held = without_memory(play_of(snapshot))
    fields = [name for name in play.__struct_fields__ if getattr(held, name) != getattr(play, name)]
    return f"its snapshot has other {', '.join(fields)}" if fields else ""
