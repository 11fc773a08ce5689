"""Notes refused sign-ins for the audit, beside the answer: waiting for it would tell which emails are known."""

import asyncio

import structlog

from libs.common import codec, subjects
from libs.common.bus import APPEND_DEADLINE_S, Bus
from libs.common.errors import HeadraceError
from libs.common.ids import commit_id
from libs.common.messages.access import LogIn, SessionRefused, User
from libs.common.messages.grant import SignIn

# The audit has read it long before; the log need not keep what anybody may cause.
REFUSAL_TTL_S = 86_400
NOTES_AT_ONCE_MAX = 100

log = structlog.get_logger(__name__)


class Refusals:
    """What was refused, on the subject of the session or grant that it would have been."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._notes: set[asyncio.Task[None]] = set()

    def note(self, command: LogIn | SignIn, user: User) -> None:
        """Note that this user was refused; the answer does not wait for it."""
        if len(self._notes) >= NOTES_AT_ONCE_MAX:
            log.warning("login_refusal_not_noted", user=user.id, reason="too many at once")
            return
        task = asyncio.create_task(self._append(command, user), name="note a refused login")
        self._notes.add(task)
        task.add_done_callback(self._notes.discard)

    async def _append(self, command: LogIn | SignIn, user: User) -> None:
        event = SessionRefused(at=command.at, by=user.id, origin=command.origin)
        id = commit_id()
        context = codec.Context(
            source=codec.source_of(user.company_id), subject=command.digest, correlation_id=id
        )
        try:
            await self._bus.append(
                subjects.session(command.digest),
                codec.encode_message(event, id=id, context=context),
                id=id,
                headers={"Nats-TTL": f"{REFUSAL_TTL_S}s"},
                deadline_s=APPEND_DEADLINE_S,
            )
        except HeadraceError as error:
            log.warning("login_refusal_not_noted", user=user.id, reason=error.message)
