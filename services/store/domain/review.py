"""The rules for reviews, and how relevant what is reviewed is (spec flow-like section 5.3)."""

import math

import msgspec

from libs.common.errors import Forbidden, NotFound
from libs.common.messages.app import App
from libs.common.messages.review import DeleteReview, Review, ReviewDeleted, ReviewWritten, WriteReview
from services.store.domain import fields as check
from services.store.domain.app import bits_of, is_listed, no_such

RATING_MIN = 1
RATING_MAX = 5
REVIEW_CHARS_MAX = 5_000


def written(command: WriteReview, app: App | None, known: Review | None, *, review_id: str) -> ReviewWritten:
    """Return the event of a review. Raises NotFound when the app is not listed, Forbidden to its members, Invalid."""
    if app is None or not is_listed(app):
        raise no_such(command.app_id)
    if bits_of(app, command.by):
        raise Forbidden("nobody reviews an app that they take part in")
    again = known is not None and not known.deleted
    made = Review(
        id=review_id,
        app_id=app.id,
        company_id=command.company_id,
        user_id=command.by,
        user_name=check.text(command.user_name, "user_name"),
        rating=check.whole(command.rating, "rating", low=RATING_MIN, high=RATING_MAX),
        text=check.text(command.text, "text", chars_max=REVIEW_CHARS_MAX),
        created_at=known.created_at if again and known is not None else command.at,
        updated_at=command.at,
    )
    return ReviewWritten(at=command.at, by=command.by, origin=command.origin, review=made)


def deleted(command: DeleteReview, known: Review | None) -> ReviewDeleted:
    """Return the event of a review that is taken back. Raises NotFound when there is none."""
    if known is None or known.deleted:
        raise NotFound("there is no review of yours")
    gone = msgspec.structs.replace(known, deleted=True, text="", updated_at=command.at)
    return ReviewDeleted(at=command.at, by=command.by, origin=command.origin, review=gone)


def relevance(*, downloads: int, interactions: int, rating_sum: int, rating_count: int) -> float:
    """Return how relevant an app is; a new one is a little, so that none is out of reach.

    `(2·downloads + interactions + 1) · (1 + average/5) · (1 + ln(1 + ratings))`; the SQL of the store's list says
    the same.
    """
    average = rating_sum / rating_count if rating_count else 0.0
    return (2 * downloads + interactions + 1) * (1 + average / RATING_MAX) * (1 + math.log1p(rating_count))
