"""Keys of apps: issues and revokes them. Gateways check them from the log (spec flow-like section 4.3)."""

from libs.common import codec, subjects
from libs.common.errors import NotFound
from libs.common.ids import is_id
from libs.common.messages.app_key import EVERYBODY, AnyAppKeyCommand, AppKey, AppKeyEvent, IssueAppKey
from libs.common.messages.app_query import AppKeyView
from libs.common.messages.query import Reply
from services.store.apps import Apps
from services.store.domain import app as app_rules
from services.store.domain import app_key as rules
from services.store.ledger import Decided, Ledger, Stand


class AppKeys:
    """Answers `cmd.appkey`."""

    def __init__(self, ledger: Ledger, apps: Apps) -> None:
        self._ledger = ledger
        self._apps = apps

    async def handle(self, command: AnyAppKeyCommand) -> Reply:
        """Decide a command and return the key after it. Raises NotFound, Forbidden, Invalid naming the field."""
        if not is_id(command.app_id):
            raise app_rules.no_such(command.app_id)
        if not is_id(command.key_id):
            raise NotFound(f"there is no key {command.key_id[:80]}")
        known_app = await self._ledger.last(subjects.definition("app", command.company_id, command.app_id))
        app = await self._apps.present(command, known_app)

        async def rule(known: Stand | None) -> Decided | None:
            key = _key(known)
            event = (
                rules.issued(command, app, key)
                if isinstance(command, IssueAppKey)
                else rules.revoked(command, app, key)
            )
            return None if event is None else Decided(event)

        subject = subjects.definition("appkey", EVERYBODY, command.key_id)
        done = await self._ledger.commit(command, subject, rule)
        key = done.event.key
        view = AppKeyView(**{field: getattr(key, field) for field in AppKeyView.__struct_fields__})
        return Reply(data=codec.raw(view), sequences={subjects.DEFINITIONS: done.sequence})


def _key(known: Stand | None) -> AppKey | None:
    return known.event.key if known is not None and isinstance(known.event, AppKeyEvent) else None
