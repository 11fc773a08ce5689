"""Telling the bus which modules this executor knows: definitions of their own, appended only when they changed."""

from datetime import datetime

import msgspec

from libs.common import ids
from libs.common.bus import Bus, Expected
from libs.common.codec import Context, decode_message, encode_message
from libs.common.errors import Conflict
from libs.common.messages.module import SYSTEM, ModuleAnnounced, ModuleInfo
from libs.common.subjects import DEFINITIONS, definition
from services.executor.modules.registry import Registry, info


async def modules(bus: Bus, registry: Registry, *, now: datetime) -> None:
    """Append a ModuleAnnounced for each module that the log does not hold as it is here."""
    for module in registry.all():
        await _announce(bus, info(module), now)


async def _announce(bus: Bus, module: ModuleInfo, now: datetime) -> None:
    subject = definition("module", SYSTEM, module.app_id)
    stored = await bus.last(DEFINITIONS, subject, leader=True)
    if stored is not None:
        known = decode_message(stored.data).data
        if isinstance(known, ModuleAnnounced) and msgspec.to_builtins(known.module) == msgspec.to_builtins(
            module
        ):
            return
    id = ids.commit_id()
    context = Context(source="/modules", subject=module.app_id)
    data = encode_message(ModuleAnnounced(at=now, module=module), id=id, context=context)
    try:
        expected = Expected(subject, 0 if stored is None else stored.sequence)
        await bus.append(subject, data, id=id, expected=expected)
    except Conflict:
        # Another executor announced it first; executors of one release say the same.
        return
