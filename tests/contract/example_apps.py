"""One realistic message of each type about apps, their keys and their reviews."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from libs.common.messages import app, app_key, flow, review
from libs.common.messages.origin import Origin

AT = datetime(2026, 3, 14, 9, 26, 53, 589000, tzinfo=UTC)
COMPANY = "69b52a3d0c1f5e8a90000001"
USER = "69b52a3d0c1f5e8a90000002"
GROUP = "69b52a3d0c1f5e8a90000008"
KEY = "69b52a3d0c1f5e8a9000000a"
ROLE = "69b52a3d0c1f5e8a9000000d"
ENTRY = "69b52a3d0c1f5e8a9000000f"
_ORIGIN = Origin(ip="203.0.113.7", user_agent="curl/8.5.0", request_id="a1b2c3", key_id=KEY)


LATER = AT + timedelta(seconds=10)


def _meta() -> app.Meta:
    return app.Meta(
        name="Invoices",
        description="Counts them",
        long_description="Line by line.",
        release_notes="First",
        tags=("finance",),
        use_case="Accounting",
        icon="https://cdn.example/icon.png",
        thumbnail="https://cdn.example/thumbnail.png",
        preview_media=("https://cdn.example/one.png",),
        age_rating=6,
        website="https://example.test",
        support_url="https://example.test/support",
        docs_url="https://example.test/docs",
        created_at=AT,
        updated_at=LATER,
    )


def _app() -> app.App:
    role = app.Role(id=ROLE, name="Owner", permissions=1, description="All", attributes=("first",))
    return app.App(
        id=GROUP,
        company_id=COMPANY,
        created_at=AT,
        updated_at=LATER,
        status="Active",
        visibility="Public",
        language="en",
        meta={"en": _meta()},
        roles=(role,),
        default_role_id=ROLE,
        members=(app.Member(user_id=USER, role_id=ROLE, joined_at=AT),),
        queue=(app.JoinRequest(id=ENTRY, user_id=KEY, at=AT, message="please"),),
        publications=(
            app.Publication(
                id=ENTRY,
                visibility="Public",
                status="ACCEPTED",
                at=AT,
                by=USER,
                message="fine",
                decided_by=USER,
                decided_at=LATER,
            ),
        ),
        published_id=ENTRY,
        primary_category="Finance",
        secondary_category="Business",
        execution_mode="Remote",
        version="1.0",
        changelog="First",
        price=500,
        bits=("hub:bit",),
        installed_from=KEY,
    )


def _key() -> app_key.AppKey:
    return app_key.AppKey(
        id=KEY,
        app_id=GROUP,
        company_id=COMPANY,
        role_id=ROLE,
        name="ci",
        digest="ab" * 32,
        created_by=USER,
        created_at=AT,
        description="Of the build",
        valid_until=LATER,
    )


def _review() -> review.Review:
    return review.Review(
        id=ENTRY,
        app_id=GROUP,
        company_id=COMPANY,
        user_id=USER,
        user_name="Ada",
        rating=5,
        created_at=AT,
        updated_at=LATER,
        text="Counts well",
    )


def app_events(board: flow.Flow) -> list[msgspec.Struct]:
    """Return one of each fact about apps; `board` is what is published of one."""
    made, key, said = _app(), _key(), _review()
    facts: dict[str, Any] = {"at": LATER, "by": USER, "origin": _ORIGIN}
    return [
        app.AppCreated(**facts, app=made),
        app.AppUpdated(**facts, app=made, change="app.update"),
        app.AppDeleted(**facts, app=msgspec.structs.replace(made, deleted=True)),
        app.SnapshotTaken(**facts, app_id=GROUP, flows=(board,)),
        app_key.AppKeyIssued(**facts, key=key),
        app_key.AppKeyRevoked(**facts, key=msgspec.structs.replace(key, revoked=True)),
        review.ReviewWritten(**facts, review=said),
        review.ReviewDeleted(**facts, review=msgspec.structs.replace(said, deleted=True)),
    ]
