"""Where a wish came from: what the audit shows beside who asked (spec flow8 section 24)."""

from datetime import datetime

import msgspec


class Origin(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """The call behind a command; `key_id` names the API key that made it, empty for a session."""

    ip: str = ""
    user_agent: str = ""
    request_id: str = ""
    key_id: str = ""


class Wish(msgspec.Struct, frozen=True, kw_only=True, rename="camel", tag_field="type", omit_defaults=True):
    """A command to the store. `id` makes a repeat harmless; `at` and new ids are chosen by the sender (D8)."""

    id: str
    at: datetime
    company_id: str
    by: str = ""
    origin: Origin = Origin()


class Fact(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """An event that carries a whole definition after the change (D7), and who asked for it from where."""

    at: datetime
    by: str = ""
    origin: Origin = Origin()
