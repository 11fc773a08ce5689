"""The stream DEFINITIONS: which event changes which table. Each event carries the whole definition (design D7)."""

from collections.abc import Awaitable, Callable
from typing import Any

from libs.common import codec
from libs.common.messages import access, flow
from services.store.database import Connection
from services.store.log_reader import Record
from services.store.read_models import access as access_tables
from services.store.read_models import checkpoints, flows
from services.store.read_models.checkpoints import Move

Write = Callable[[Connection, list[tuple[Any, int]]], Awaitable[None]]

# The nouns that have a table, and so the filters of the projector.
NOUNS = ("flow", "company", "user")
_TABLES: dict[type, Write] = {
    flow.Flow: flows.write,
    access.Company: access_tables.write_companies,
    access.User: access_tables.write_users,
}


def definition_of(event: Any) -> flow.Flow | access.Company | access.User:
    """Return the definition that an event carries. Raises ValueError for an event of another noun."""
    match event:
        case flow.FlowEvent():
            return event.flow
        case access.CompanyCreated():
            return event.company
        case access.UserCreated() | access.UserUpdated():
            return event.user
        case _:
            raise ValueError(f"{type(event).__name__} carries no definition that has a table")


class DefinitionsBatch:
    """The definition events of one batch; of each definition only the last counts."""

    def __init__(self) -> None:
        self._last: dict[type, dict[str, tuple[Any, int]]] = {kind: {} for kind in _TABLES}

    def add(self, record: Record) -> None:
        """Fold in one event. Raises msgspec.DecodeError or ValueError when it cannot be read."""
        definition = definition_of(codec.last_event(record.data).data)
        self._last[type(definition)][definition.id] = (definition, record.sequence)

    async def write(self, connection: Connection, move: Move) -> bool:
        """Write the definitions and move the checkpoint in one transaction."""
        async with connection.transaction():
            if not await checkpoints.move_only(connection, move):
                return False
            for kind, write in _TABLES.items():
                if rows := list(self._last[kind].values()):
                    await write(connection, rows)
        return True
