"""The stream DEFINITIONS: which event changes which table. Each event carries the whole definition (design D7)."""

from collections.abc import Awaitable, Callable
from typing import Any

from libs.common import codec, subjects
from libs.common.messages import access, app, app_key, channel, flow, grant, group, key, pat, review
from services.store.database import Connection
from services.store.log_reader import Record
from services.store.read_models import access as access_tables
from services.store.read_models import apps, audit, channels, checkpoints, flows, groups, keys, pats, versions
from services.store.read_models.audit import AuditRow
from services.store.read_models.checkpoints import Move
from services.store.read_models.versions import VersionRow

Write = Callable[[Connection, list[tuple[Any, int]]], Awaitable[None]]

Definition = (
    flow.Flow
    | access.Company
    | access.User
    | group.Group
    | key.ApiKey
    | channel.Channel
    | pat.Pat
    | app.App
    | app_key.AppKey
    | review.Review
)

# The nouns that have a table, or are audited, and so the filters of the projector.
NOUNS = (
    "flow", "company", "user", "group", "key", "session", "channel", "grant", "pat", "app", "snapshot",
    "appkey", "review",
)  # fmt: skip
_TABLES: dict[type, Write] = {
    flow.Flow: flows.write,
    access.Company: access_tables.write_companies,
    access.User: access_tables.write_users,
    group.Group: groups.write,
    key.ApiKey: keys.write,
    channel.Channel: channels.write,
    pat.Pat: pats.write,
    app.App: apps.write,
    app_key.AppKey: apps.write_keys,
    review.Review: apps.write_reviews,
}


def definition_of(event: Any) -> Definition | None:
    """Return the definition that an event carries, None for a session's, grant's or snapshot's.

    Raises ValueError for another noun's.
    """
    match event:
        case access.SessionOpened() | access.SessionClosed() | access.SessionRefused() | grant.GrantEvent():
            return None
        case app.SnapshotTaken():
            return None
        case app.AppEvent():
            return event.app
        case review.ReviewEvent():
            return event.review
        case pat.PatEvent():
            return event.pat
        case group.GroupEvent():
            return event.group
        case key.KeyEvent() | app_key.AppKeyEvent():
            return event.key
        case channel.ChannelEvent():
            return event.channel
        case flow.FlowEvent():
            return event.flow
        case access.CompanyCreated():
            return event.company
        case access.UserCreated() | access.UserUpdated():
            return event.user
        case _:
            raise ValueError(f"{type(event).__name__} carries no definition that has a table")


class DefinitionsBatch:
    """The definition events of one batch; of each definition only the last counts, of versions and deeds all."""

    def __init__(self) -> None:
        self._last: dict[type, dict[str, tuple[Any, int]]] = {kind: {} for kind in _TABLES}
        self._versions: list[VersionRow] = []
        self._audit: list[AuditRow] = []

    def add(self, record: Record) -> None:
        """Fold in one event. Raises msgspec.DecodeError or ValueError when it cannot be read."""
        envelope = codec.last_event(record.data)
        event = envelope.data
        definition = definition_of(event)
        row = audit.row_of(envelope, stream=subjects.DEFINITIONS, sequence=record.sequence)
        if definition is not None:
            self._last[type(definition)][definition.id] = (definition, record.sequence)
        if isinstance(event, flow.FlowEvent):
            self._versions.append(VersionRow(event, record.sequence, audit.ACTIONS[type(event)]))
        if row is not None:
            self._audit.append(row)

    async def write(self, connection: Connection, move: Move) -> bool:
        """Write the definitions and move the checkpoint in one transaction."""
        async with connection.transaction():
            if not await checkpoints.move_only(connection, move):
                return False
            for kind, write in _TABLES.items():
                if rows := list(self._last[kind].values()):
                    await write(connection, rows)
            if self._versions:
                await versions.write(connection, self._versions)
            if self._audit:
                await audit.write(connection, self._audit)
        return True
