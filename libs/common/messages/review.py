"""Reviews of listed apps: one of each user (spec flow-like sections 5.3 and 11.3)."""

from datetime import datetime

import msgspec

from libs.common.messages.app import AppCommand
from libs.common.messages.origin import Fact

# Who reads a review is of any company.
EVERYBODY = "everybody"


class Review(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What a user thinks of an app; `rating` from 1 to 5."""

    id: str
    app_id: str
    company_id: str
    user_id: str
    user_name: str
    rating: int
    created_at: datetime
    updated_at: datetime
    text: str = ""
    deleted: bool = False


class WriteReview(AppCommand, frozen=True, kw_only=True, tag="app.review.write"):
    """Say what `by` thinks of an app, in the place of what they said before."""

    rating: int
    user_name: str
    text: str = ""


class DeleteReview(AppCommand, frozen=True, kw_only=True, tag="app.review.delete"):
    """Take back what `by` said of an app."""


AnyReviewCommand = WriteReview | DeleteReview


class ReviewEvent(Fact, frozen=True, kw_only=True):
    """A fact about a review, with the whole of it (on `evt.review.everybody.<id>`)."""

    review: Review


class ReviewWritten(ReviewEvent, frozen=True, kw_only=True):
    """Somebody reviewed an app."""


class ReviewDeleted(ReviewEvent, frozen=True, kw_only=True):
    """Somebody took a review back."""
