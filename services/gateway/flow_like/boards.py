"""Which flow a caller means by an app and a board: an app is a group, a board is a flow of it (override 2)."""

import re
from typing import Any

from libs.common import codec, subjects
from libs.common.errors import Invalid, NotFound
from libs.common.messages.flow import FlowEvent
from libs.common.messages.group import GroupDeleted, GroupEvent
from services.gateway.definitions import Definition
from services.gateway.parts import Parts
from services.gateway.routing import shown

LATEST = "latest"
HISTORY_PAGE_MAX = 256
_VERSION = re.compile(r"v?(?:0[._]0[._])?(\d{1,9})")
_FOREIGN_VERSION = re.compile(r"v?\d{1,9}[._]\d{1,9}[._]\d{1,9}")


class Boards:
    """Finds boards in the log, without asking the store."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def find(self, company_id: str, app_id: str, board_id: str) -> Definition:
        """Return the flow that is this board of this app; the app may be named by its id or its name.

        Raises Invalid for an empty id, NotFound when there is no such app or board for this company.
        """
        for name, given in (("app_id", app_id), ("board_id", board_id)):
            if not given.strip():
                raise Invalid(f"{name}: expected an id")
        try:
            flow = await self._parts.definitions.find(company_id, board_id)
        except NotFound as error:
            raise self.no_board(app_id, board_id) from error
        if flow.group_id is None or not await self._is(company_id, flow.group_id, app_id):
            raise self.no_board(app_id, board_id)
        return flow

    @staticmethod
    def no_board(app_id: str, board_id: str) -> NotFound:
        """Return the refusal of a board that is not there, or not for this caller."""
        return NotFound(f"app {shown(app_id)} has no board {shown(board_id)}")

    async def at_version(self, company_id: str, flow: Definition, version: Any) -> Definition:
        """Return a board as it was in a version: `latest`, `0.0.7`, `[0, 0, 7]` or `7`.

        Raises Invalid for what is no version, NotFound for one that never was.
        """
        number = version_of(version)
        if number is None or number == flow.version:
            return flow
        subject, since = subjects.definition("flow", company_id, flow.id), 1
        while page := await self._parts.bus.load_page(
            subjects.DEFINITIONS, subject, since=since, limit=HISTORY_PAGE_MAX
        ):
            for stored in page:
                event = codec.last_event(stored.data).data
                if isinstance(event, FlowEvent) and event.flow.version == number:
                    return flow._replace(version=number, sequence=stored.sequence)
            since = page[-1].sequence + 1
        raise NotFound(f"board {flow.id} has no version {shown(str(version))}")

    async def check_entry(self, flow: Definition, node_id: str) -> None:
        """Raise Invalid, listing the nodes that the board begins with, unless this is one of them."""
        layers = await self._parts.plays.layers(flow.sequence)
        first = min((layer.index for layer in layers), default=0)
        starts = [layer for layer in layers if layer.index == first]
        if not any(node_id in (layer.id, layer.ref) for layer in starts):
            listed = ", ".join(layer.ref for layer in starts) or "no node"
            raise Invalid(f"node_id: expected a node that the board begins with, which is {listed}")

    async def _is(self, company_id: str, group_id: str, app_id: str) -> bool:
        subject = subjects.definition("group", company_id, group_id)
        stored = await self._parts.bus.last(subjects.DEFINITIONS, subject)
        event = None if stored is None else codec.last_event(stored.data).data
        if not isinstance(event, GroupEvent) or isinstance(event, GroupDeleted):
            return False
        return app_id in (group_id, event.group.name)


def version_of(given: Any) -> int | None:
    """Return the number of a version, None for the latest. Flows count by one: 7 is 0.0.7.

    Raises Invalid for what is no version, NotFound for one that no flow can have.
    """
    match given:
        case None:
            return None
        case str() if given.lower() in ("", LATEST):
            return None
        case str() if found := _VERSION.fullmatch(given):
            return int(found[1])
        case [0, 0, int(number)] if not isinstance(number, bool):
            return int(number)
        case [int(), int(), int()]:
            raise NotFound(f"there is no version {given}")
        case str() if _FOREIGN_VERSION.fullmatch(given):
            raise NotFound(f"there is no version {given}")
        case _:
            raise Invalid("version: expected latest, a text such as 0.0.7, or three numbers")
