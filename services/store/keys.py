"""API keys: issues, revokes and lists them. Gateways verify them from the log (spec flow8 section 4)."""

import msgspec

from libs.common import codec, subjects
from libs.common.errors import NotFound
from libs.common.ids import is_id
from libs.common.messages.key import AnyKeyCommand, ApiKey, IssueKey, KeyEvent, KeyView, ListKeys
from libs.common.messages.query import Reply, Rows
from services.store.domain import key as rules
from services.store.ledger import Decided, Ledger, Stand
from services.store.listing import Listing, Where

_COLUMNS = """
    k.id, k.name, k.scopes, k.user_id, k.issued_at, u.last_used_at, k.revoked
"""
_SOURCE = "api_keys k left join api_key_uses u on u.id = k.id and u.company_id = k.company_id"


class Keys:
    """Answers `cmd.key` and `qry.key`."""

    def __init__(self, ledger: Ledger, listing: Listing) -> None:
        self._ledger = ledger
        self._listing = listing

    async def handle(self, command: AnyKeyCommand) -> Reply:
        """Decide a command and return the key after it. Raises Invalid, NotFound (API_KEY_NOT_FOUND), Unavailable."""
        if not is_id(command.key_id):
            raise NotFound(f"there is no API key {command.key_id[:80]}", code="API_KEY_NOT_FOUND")

        async def rule(known: Stand | None) -> Decided | None:
            key = _key(known)
            event = (
                rules.issued(command, key) if isinstance(command, IssueKey) else rules.revoked(command, key)
            )
            return None if event is None else Decided(event)

        subject = subjects.definition("key", command.company_id, command.key_id)
        done = await self._ledger.commit(command, subject, rule)
        key = done.event.key
        view = KeyView(
            id=key.id,
            name=key.name,
            scopes=key.scopes,
            user_id=key.user_id,
            issued_at=key.issued_at,
            revoked=key.revoked,
        )
        return Reply(data=msgspec.Raw(codec.encode(view)), sequences={subjects.DEFINITIONS: done.sequence})

    async def page(self, query: ListKeys) -> Rows:
        """Return a page of keys, oldest first."""
        await self._listing.caught_up(query)
        where = Where(query.company_id, column="k.company_id").add("k.user_id = ", query.user_id)
        rows, total = await self._listing.page(_COLUMNS, _SOURCE, where, "k.issued_at, k.id", query.page)
        return Rows([KeyView(**{**row, "scopes": tuple(row["scopes"].split(","))}) for row in rows], total)


def _key(known: Stand | None) -> ApiKey | None:
    return known.event.key if known is not None and isinstance(known.event, KeyEvent) else None
