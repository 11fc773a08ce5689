"""KV entries as executors use them: questions and commands to the store, along the scopes of a flow (spec section 13).

The store answers `qry.kv` and `cmd.kv` (libs/common/messages/kv.py):

- `kv.read` `{companyId, key, flowId, groupId?, scope?, scopeKey?, inherit?, conflict?}` → `{value, found}`. The chain
  is flow → flow_group → global, from `scope` (default `flow`) on; `inherit: false` reads `scope` alone; `conflict` is
  `child` (default), `parent` or `merge`. It reads the log, so it sees every write that was answered before.
- `kv.set` `{…, key, scope, scopeKey, value, secret?}`, `kv.append` `{…, value}`, `kv.increment` `{…, amount}` →
  `{entry, created}`. Atomic, and a repeat with the same `id` (one of the last sixteen on the entry) changes nothing:
  give a step's idempotency key as the id. The `value` of a secret entry is null in the answer.

- `kv.unset` `{…, key, scope, scopeKey}` → `{found}` deletes; what is not there is no mistake.
- `kv.read-for-step` reads all that the expressions of one step want, and seals it: the executor holds no key, so what
  an event keeps of it is opened by `kv.open` when the step runs again.

`scopeKey` of a write is a flow's or a group's id. Errors come back as themselves: Invalid for what is malformed or
names no flow or group, Refused (KV_TYPE_MISMATCH) for a value that cannot grow, Unavailable when nobody answers.
"""

import msgspec

from libs.common import rpc, subjects
from libs.common.bus import Bus
from libs.common.messages.kv import (
    AppendKv,
    IncrementKv,
    KvFound,
    KvReadings,
    KvView,
    OpenKv,
    ReadKv,
    ReadKvForStep,
    SetKv,
    UnsetKv,
)

READ_TIMEOUT_S = 10.0
# A store may wait for its projection, and for others that change the same entry.
WRITE_TIMEOUT_S = 25.0


class _Written(msgspec.Struct, frozen=True):
    entry: KvView
    created: bool


class _Unset(msgspec.Struct, frozen=True):
    found: bool


async def read(bus: Bus, question: ReadKv) -> KvFound:
    """Return what a flow reads under a key. Raises as the module says."""
    return await rpc.ask(bus, subjects.query("kv"), question, KvFound, timeout_s=READ_TIMEOUT_S)


async def write(bus: Bus, command: SetKv | AppendKv | IncrementKv) -> KvView:
    """Set or grow an entry and return it. Raises as the module says."""
    written = await rpc.ask(bus, subjects.command("kv"), command, _Written, timeout_s=WRITE_TIMEOUT_S)
    return written.entry


async def unset(bus: Bus, command: UnsetKv) -> bool:
    """Delete an entry by its key; tell whether there was one. Raises as the module says."""
    done = await rpc.ask(bus, subjects.command("kv"), command, _Unset, timeout_s=WRITE_TIMEOUT_S)
    return done.found


async def read_for_step(bus: Bus, question: ReadKvForStep | OpenKv) -> KvReadings:
    """Return what a step's expressions read, now or when it first asked.

    Raises as the module says, and Refused (KV_READ_TOO_LARGE) for more than a step may read.
    """
    return await rpc.ask(bus, subjects.query("kv"), question, KvReadings, timeout_s=READ_TIMEOUT_S)
