"""Questions to the store, which answers them from its read models, and commands that it decides."""

from typing import NamedTuple, TypeVar

import msgspec

from libs.common import rpc, subjects
from libs.common.bus import Bus
from libs.common.messages.flow import AnyFlowCommand
from libs.common.messages.origin import Wish
from libs.common.messages.query import Query
from services.gateway.definitions import Definitions
from services.gateway.positions import HEADER, Positions, format_header
from services.gateway.routing import Call

# A store may wait for its projection, and for others that change the same flow.
TELL_TIMEOUT_S = 25.0
ASK_TRIES_MAX = 2

T = TypeVar("T")


class Answer(NamedTuple):
    """The bytes of an answer and how far into each stream it reaches."""

    data: bytes
    sequences: dict[str, int]

    def decode(self, kind: type[T]) -> T:
        """Return the data as this type."""
        return msgspec.json.decode(self.data, type=kind)

    @property
    def headers(self) -> dict[str, str]:
        """Return what tells the caller how far this answer reaches."""
        return {HEADER: format_header(self.sequences)} if self.sequences else {}


class Store:
    """The store, whichever process of it answers."""

    def __init__(self, bus: Bus, positions: Positions, definitions: Definitions) -> None:
        self._bus = bus
        self._positions = positions
        self._definitions = definitions

    async def ask(self, noun: str, query: Query, call: Call | None = None) -> Answer:
        """Ask about a noun; the answer includes what this gateway or the call's header knows of (D11).

        Raises what the store refuses with, Unavailable when none answers, Invalid for a header of another form.
        """
        header = None if call is None else call.request.headers.get(HEADER)
        after = self._positions.of(query.company_id, header)
        if after:
            query = msgspec.structs.replace(query, after=after)
        reply = await rpc.call(self._bus, subjects.query(noun), query, tries=ASK_TRIES_MAX)
        for stream, sequence in reply.sequences.items():
            self._positions.note(query.company_id, stream, sequence)
        return Answer(bytes(reply.data), reply.sequences)

    async def order(self, noun: str, command: Wish) -> Answer:
        """Have the store decide a command on a noun; answered when its effect can be read. Raises as `ask`."""
        reply = await rpc.call(self._bus, subjects.command(noun), command, timeout_s=TELL_TIMEOUT_S)
        for stream, sequence in reply.sequences.items():
            self._positions.note(command.company_id, stream, sequence)
        return Answer(bytes(reply.data), reply.sequences)

    async def tell(self, command: AnyFlowCommand) -> Answer:
        """Have the store decide a command on a flow; answered when its effect can be read. Raises as `ask`."""
        reply = await rpc.call(self._bus, subjects.command("flow"), command, timeout_s=TELL_TIMEOUT_S)
        # A play started after this answer runs the changed definition, whenever the republished one arrives.
        sequence = reply.sequences.get(subjects.DEFINITIONS, 0)
        self._definitions.changed(command.company_id, command.flow_id, sequence)
        return Answer(bytes(reply.data), reply.sequences)
