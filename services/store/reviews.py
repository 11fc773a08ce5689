"""Reviews: written and taken back, one of each user for an app (spec flow-like section 11.3)."""

from libs.common import codec, subjects
from libs.common.ids import derived_id, is_id
from libs.common.messages.app import App
from libs.common.messages.app_query import ReviewView
from libs.common.messages.query import Reply
from libs.common.messages.review import EVERYBODY, AnyReviewCommand, Review, ReviewEvent, WriteReview
from services.store.apps import app_of
from services.store.database import Database
from services.store.domain import app as app_rules
from services.store.domain import review as rules
from services.store.ledger import Decided, Ledger, Stand


class Reviews:
    """Answers `cmd.review`."""

    def __init__(self, ledger: Ledger, database: Database) -> None:
        self._ledger = ledger
        self._database = database

    async def handle(self, command: AnyReviewCommand) -> Reply:
        """Decide a command and return the review after it. Raises NotFound, Forbidden, Invalid naming the field."""
        if not is_id(command.app_id):
            raise app_rules.no_such(command.app_id)
        app = await self._app(command.app_id)
        review_id = derived_id("review", command.app_id, command.by)

        async def rule(known: Stand | None) -> Decided:
            review = _review(known)
            if isinstance(command, WriteReview):
                return Decided(rules.written(command, app, review, review_id=review_id))
            return Decided(rules.deleted(command, review))

        subject = subjects.definition("review", EVERYBODY, review_id)
        done = await self._ledger.commit(command, subject, rule)
        review = done.event.review
        view = ReviewView(**{field: getattr(review, field) for field in ReviewView.__struct_fields__})
        return Reply(data=codec.raw(view), sequences={subjects.DEFINITIONS: done.sequence})

    async def _app(self, app_id: str) -> App | None:
        row = await self._database.row("select company_id from apps where id = $1 and listed", app_id)
        if row is None:
            return None
        return app_of(await self._ledger.last(subjects.definition("app", row["company_id"], app_id)))


def _review(known: Stand | None) -> Review | None:
    return known.event.review if known is not None and isinstance(known.event, ReviewEvent) else None
