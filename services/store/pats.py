"""Personal access tokens: issues, revokes and lists them. Gateways check them from the log (spec flow-like 4.1)."""

from libs.common import codec, subjects
from libs.common.errors import NotFound
from libs.common.ids import is_id
from libs.common.messages.pat import EVERYBODY, AnyPatCommand, IssuePat, ListPats, Pat, PatEvent, PatView
from libs.common.messages.query import Reply, Rows
from services.store.domain import pat as rules
from services.store.ledger import Decided, Ledger, Stand
from services.store.listing import Listing, Where

_COLUMNS = "id, name, permissions, created_at, valid_until"


class Pats:
    """Answers `cmd.pat` and `qry.pat`."""

    def __init__(self, ledger: Ledger, listing: Listing) -> None:
        self._ledger = ledger
        self._listing = listing

    async def handle(self, command: AnyPatCommand) -> Reply:
        """Decide a command and return the token after it. Raises Invalid, NotFound, Unavailable."""
        if not is_id(command.pat_id):
            raise NotFound(f"there is no token {command.pat_id[:80]}")

        async def rule(known: Stand | None) -> Decided | None:
            pat = _pat(known)
            event = (
                rules.issued(command, pat) if isinstance(command, IssuePat) else rules.revoked(command, pat)
            )
            return None if event is None else Decided(event)

        subject = subjects.definition("pat", EVERYBODY, command.pat_id)
        done = await self._ledger.commit(command, subject, rule)
        pat = done.event.pat
        view = PatView(**{field: getattr(pat, field) for field in PatView.__struct_fields__})
        return Reply(data=codec.raw(view), sequences={subjects.DEFINITIONS: done.sequence})

    async def page(self, query: ListPats) -> Rows:
        """Return the tokens of a user that were not revoked, oldest first."""
        await self._listing.caught_up(query)
        where = Where(query.company_id).add("user_id = ", query.user_id).add("revoked = ", value=False)
        rows, total = await self._listing.page(_COLUMNS, "pats", where, "created_at, id", query.span)
        return Rows([PatView(**row) for row in rows], total)


def _pat(known: Stand | None) -> Pat | None:
    return known.event.pat if known is not None and isinstance(known.event, PatEvent) else None
