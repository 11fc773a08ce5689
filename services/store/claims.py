"""Unique names: who appends first on a name's subject owns it (design D3)."""

from datetime import datetime

from libs.common import codec, subjects
from libs.common.bus import APPEND_DEADLINE_S, Bus, Expected
from libs.common.errors import Conflict, Unavailable
from libs.common.ids import commit_id
from libs.common.messages.access import NameClaimed
from services.store.domain.names import slug_candidate

# Tried one after the other before the search doubles its steps.
NEIGHBOURS = 3
CLAIM_ATTEMPTS_MAX = 50
PERMANENT = "permanent"
EMAIL = "email"
USERNAME = "username"
IDENTITY = "identity"
# Emails are unique among all companies: people log in without naming one.
EVERYBODY = "everybody"


class Claims:
    """The names of one company and kind."""

    def __init__(self, bus: Bus, company_id: str, kind: str) -> None:
        self._bus = bus
        self._company_id = company_id
        self._kind = kind

    async def owner(self, name: str) -> str | None:
        """Return who owns a name, None when nobody does."""
        found = await self._bus.last(subjects.DEFINITIONS, self._subject(name), leader=True)
        if found is None:
            return None
        event = codec.last_event(found.data).data
        return event.owner_id if isinstance(event, NameClaimed) else None

    async def claim(self, name: str, owner_id: str, *, at: datetime) -> bool:
        """Make the name the owner's; True also when it is already. Raises Unavailable when NATS does not answer."""
        context = codec.Context(source=codec.source_of(self._company_id), subject=name)
        id = commit_id()
        body = codec.encode_message(NameClaimed(at=at, owner_id=owner_id), id=id, context=context)
        subject = self._subject(name)
        try:
            await self._bus.append(
                subject, body, id=id, expected=Expected(subject, 0), deadline_s=APPEND_DEADLINE_S
            )
        except Conflict:
            return await self.owner(name) == owner_id
        return True

    async def claim_free(self, slug: str, owner_id: str, *, at: datetime) -> str:
        """Claim the slug, or the slug with the first free number found, and return it.

        Names are taken in order, so the search doubles its steps over taken ones and halves them back.
        Raises Unavailable when others take each name that was found, or NATS does not answer.
        """
        number = 1
        for attempt in range(CLAIM_ATTEMPTS_MAX):
            name = slug_candidate(slug, number)
            if await self.claim(name, owner_id, at=at):
                return name
            number = number + 1 if attempt < NEIGHBOURS else await self._free_after(slug, number)
        raise Unavailable(f"no free name was found for {slug}; try again")

    async def _free_after(self, slug: str, taken: int) -> int:
        step = 1
        while await self._is_taken(slug, taken + step):
            taken, step = taken + step, step * 2
        free = taken + step
        while free - taken > 1:
            middle = (taken + free) // 2
            if await self._is_taken(slug, middle):
                taken = middle
            else:
                free = middle
        return free

    async def _is_taken(self, slug: str, number: int) -> bool:
        return await self.owner(slug_candidate(slug, number)) is not None

    def _subject(self, name: str) -> str:
        return subjects.claim(self._company_id, self._kind, name)
