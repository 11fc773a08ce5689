"""Approvals: who may decide on a step that waits, how many must, and what happens without them. Pure.

The decider applies these rules; the gateway applies the same ones to answer early.
"""

from datetime import datetime, timedelta
from typing import Literal

import msgspec

Decision = Literal["approved", "declined"]
OnTimeout = Literal["approve", "decline", "escalate"]
ON_TIMEOUT: tuple[OnTimeout, ...] = ("approve", "decline", "escalate")
ESCALATED_TO_DEFAULT = ("admin",)


class Approval(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """The rules of a step's approval; `approvers` and `escalate_to` are roles, user ids or emails, none for everybody.

    `timeout` and `remind_every_seconds` in seconds, 0 for never.
    """

    approvers: tuple[str, ...] = ()
    count: int = 1
    timeout: int = 0
    on_timeout: OnTimeout = "decline"
    escalate_to: tuple[str, ...] = ()
    no_self_approval: bool = False
    remind_every_seconds: int = 0


class Vote(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """One person's word on a pending approval."""

    by: str
    at: datetime
    decision: Decision = "approved"
    note: str = ""


class Gate(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A pending approval with rules of its own; every event about it carries it whole.

    `timeout_at` is when `on_timeout` happens, None when never (any more); `remind_at` when the next reminder does.
    """

    approvers: tuple[str, ...] = ()
    count: int = 1
    timeout_at: datetime | None = None
    on_timeout: OnTimeout = "decline"
    escalate_to: tuple[str, ...] = ()
    no_self_approval: bool = False
    remind_every_seconds: int = 0
    remind_at: datetime | None = None
    reminders: int = 0
    escalated: bool = False
    votes: tuple[Vote, ...] = ()

    @property
    def due_at(self) -> datetime | None:
        """Return when something happens by itself, None when nothing does."""
        return min((at for at in (self.timeout_at, self.remind_at) if at is not None), default=None)


class Person(msgspec.Struct, frozen=True):
    """Somebody who decides: the names by which rules may call them."""

    id: str
    role: str = ""
    email: str = ""


def gate_of(rules: Approval, at: datetime) -> Gate:
    """Return the gate that these rules make of a step that waits since `at`."""
    every = rules.remind_every_seconds
    return Gate(
        approvers=rules.approvers,
        count=rules.count,
        timeout_at=at + timedelta(seconds=rules.timeout) if rules.timeout else None,
        on_timeout=rules.on_timeout,
        escalate_to=rules.escalate_to,
        no_self_approval=rules.no_self_approval,
        remind_every_seconds=every,
        remind_at=at + timedelta(seconds=every) if every else None,
    )


def forbids(gate: Gate | None, person: Person, *, started_by: str) -> str | None:
    """Return why this person may not decide here, None when they may."""
    if gate is None:
        return None
    if gate.no_self_approval and person.id and person.id == started_by:
        return "whoever started the play may not decide on this step"
    named = {person.id, person.role, person.email.lower()} - {""}
    if gate.approvers and not named & {name.lower() if "@" in name else name for name in gate.approvers}:
        return f"only {', '.join(gate.approvers)} may decide on this step"
    return None


def has_voted(gate: Gate | None, by: str) -> bool:
    """Tell whether this person's word counts already."""
    return gate is not None and any(vote.by == by for vote in gate.votes)


def escalated(gate: Gate, at: datetime) -> Gate:
    """Return the gate after its time was over: more people may decide it, and its time has no end any more."""
    more = gate.escalate_to or ESCALATED_TO_DEFAULT
    approvers = tuple(dict.fromkeys((*gate.approvers, *more))) if gate.approvers else ()
    return reminded(msgspec.structs.replace(gate, approvers=approvers, timeout_at=None, escalated=True), at)


def reminded(gate: Gate, at: datetime) -> Gate:
    """Return the gate after a reminder; reminders that nobody could give in time are not made up for."""
    every = gate.remind_every_seconds
    following = at + timedelta(seconds=every) if every else None
    return msgspec.structs.replace(gate, reminders=gate.reminders + 1, remind_at=following)
