"""The rules for who may see an app, and for what is published of it (spec flow-like section 5.4, override 5)."""

from typing import Any

import msgspec

from libs.common.errors import Forbidden, Invalid, NotFound
from libs.common.messages.app import (
    LISTED,
    App,
    AppUpdated,
    DecidePublication,
    Publication,
    SetVisibility,
    SnapshotTaken,
)
from libs.common.messages.flow import Flow
from services.store.domain import fields as check
from services.store.domain.app import changed, may_delete, no_such, owner_of

PUBLICATIONS_KEPT_MAX = 20
MESSAGE_CHARS_MAX = 1_000
FLOWS_MAX = 200
OPEN = frozenset({"PENDING", "ON_HOLD"})


def publishes(command: SetVisibility, app: App) -> bool:
    """Tell whether this wish makes the app's present content what the store hands out.

    Raises NotFound, Forbidden to all but the owner, and for a transition that there is not.
    """
    may_delete(command, app)
    before, wanted = app.visibility, command.visibility
    if wanted in LISTED:
        if before in (wanted, "Prototype"):
            return True
        if before in LISTED:
            return False
    elif before == wanted or {before, wanted} == {"Private", "Prototype"}:
        return False
    raise Forbidden(f"an app does not go from {before} to {wanted}")


def seen(command: SetVisibility, app: App) -> AppUpdated:
    """Return the event of an app that others see differently, or that waits for a decision on it."""
    if not publishes(command, app):
        made = msgspec.structs.replace(app, visibility=command.visibility)
        if command.visibility == "Private":
            owner = owner_of(app)
            members = tuple(member for member in app.members if member.user_id == owner)
            made = msgspec.structs.replace(made, members=members, queue=())
        if command.visibility not in LISTED:
            # What was asked for is no longer wanted.
            kept = tuple(entry for entry in app.publications if entry.status not in OPEN)
            made = msgspec.structs.replace(made, publications=kept)
        return changed(command, made)
    entry = Publication(
        id=command.publication_id,
        visibility=command.visibility,
        status="PENDING" if command.review else "ACCEPTED",
        at=command.at,
        by=command.by,
        decided_at=None if command.review else command.at,
    )
    # A newer wish takes the place of one that still waits.
    settled = tuple(old for old in app.publications if old.status not in OPEN)
    made = msgspec.structs.replace(app, publications=(*settled, entry)[-PUBLICATIONS_KEPT_MAX:])
    return changed(command, made if command.review else _published(made, entry))


def decided(command: DecidePublication, app: App | None) -> AppUpdated:
    """Return the event of a decision on a publication. Raises NotFound, Invalid when it was decided before."""
    if app is None or app.deleted:
        raise no_such(command.app_id)
    entry = next((old for old in app.publications if old.id == command.publication_id), None)
    if entry is None:
        raise NotFound(f"there is no publication {command.publication_id[:80]}")
    if entry.status not in OPEN:
        raise Invalid(f"status: this publication is {entry.status} already")
    if command.status == "PENDING":
        raise Invalid("status must be one of ACCEPTED, REJECTED, ON_HOLD")
    after = msgspec.structs.replace(
        entry,
        status=command.status,
        message=check.text(command.message, "message", chars_max=MESSAGE_CHARS_MAX),
        decided_by=command.by,
        decided_at=command.at,
    )
    entries = tuple(after if old.id == entry.id else old for old in app.publications)
    made = msgspec.structs.replace(app, publications=entries)
    return changed(command, _published(made, after) if after.status == "ACCEPTED" else made)


def snapshot(command: SetVisibility, flows: list[Flow]) -> SnapshotTaken:
    """Return what is published of an app: its flows, without what names things of its company. Raises Invalid."""
    if len(flows) > FLOWS_MAX:
        raise Invalid(f"at most {FLOWS_MAX} boards can be published, not {len(flows)}")
    own = {flow.id: flow.id for flow in flows}
    return SnapshotTaken(
        at=command.at,
        by=command.by,
        origin=command.origin,
        app_id=command.app_id,
        flows=tuple(_bare(flow, own) for flow in flows),
    )


def pointed(value: Any, ids: dict[str, str]) -> Any:
    """Return a JSON value in which each text that is an id of these is the one in its place."""
    if isinstance(value, str):
        return ids.get(value, value)
    if isinstance(value, dict):
        return {name: pointed(entry, ids) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [pointed(entry, ids) for entry in value]
    return value


def _bare(flow: Flow, own: dict[str, str]) -> Flow:
    # Credentials, approvers by name and flows of other groups mean nothing elsewhere, and are nobody's business.
    layers = tuple(
        msgspec.structs.replace(layer, component_config_ids={}, link_ids_by_type={}, approval=None)
        for layer in flow.layers
    )
    on_fail = own.get(flow.execution.on_fail_flow_id or "")
    execution = msgspec.structs.replace(flow.execution, on_fail_flow_id=on_fail)
    return msgspec.structs.replace(flow, layers=layers, execution=execution)


def _published(app: App, entry: Publication) -> App:
    return msgspec.structs.replace(app, visibility=entry.visibility, published_id=entry.id)
