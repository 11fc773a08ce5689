"""Ending a run before its time; one that has ended already is left as it is (spec flow-like section 11.3)."""

from libs.common.errors import NotFound
from libs.common.messages import play as m
from services.gateway.flow_like.launches import play_id_of, view_of
from services.gateway.flow_like.run_rights import must_end
from services.gateway.origin import origin_of
from services.gateway.parts import Parts
from services.gateway.play_commands import PlayCommands, is_end
from services.gateway.routing import Call, shown


class Cancels:
    """Cancels plays by the id of their job or run."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._commands = PlayCommands(parts)

    async def cancel(self, call: Call) -> str:
        """Cancel the play that a call names, and return its id. Raises NotFound, Forbidden."""
        company_id, given = call.caller.company_id, call.parameters[0]
        play_id = play_id_of(given)
        place = await self._parts.plays.find(company_id, play_id)
        if place is None:
            # What the log has forgotten has ended; what never was is not found.
            view = await view_of(self._parts, company_id, given)
            await must_end(self._parts, call, self._parts.plays.key(company_id, view.flow_id, play_id))
            return play_id
        if place.key.company_id != company_id:
            raise NotFound(f"there is no run {shown(given)}")
        await must_end(self._parts, call, place.key)
        if place.state not in m.TERMINAL:
            command = m.CancelPlay(at=self._parts.clock.now(), by=call.caller.user_id, origin=origin_of(call))
            told = await self._commands.send(place, "cancel", command, is_end)
            if told is not None:
                self._commands.noted(place, told.seen)
        return play_id
