"""Modules as executors announce them: what a step may name as its `appId` (spec flow8 section 17.9)."""

from datetime import datetime
from typing import Any

import msgspec

from libs.common.messages.query import Page, Query

# Modules belong to no company; their subjects carry this token instead (`evt.module.system.<name>`).
SYSTEM = "system"


class ModuleInfo(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One module: its name, whether it is pure, and the JSON Schema of its args."""

    app_id: str
    version: int
    pure: bool
    docs: str
    args_schema: dict[str, Any]
    args_example: dict[str, Any]
    out_example: Any
    raw_args: tuple[str, ...] = ()
    # What it belongs together with, and whether it can run in a process of its own.
    family: str = ""
    isolated: bool = False
    # What it works with (storage, ai, db, request, console), and which args no secret KV entry is read in (ADR 38).
    required_components: tuple[str, ...] = ()
    shown_args: tuple[str, ...] = ()


class ListModules(Query, frozen=True, kw_only=True, tag="module.list"):
    """A page of the modules that executors have announced, by name."""

    page: Page = Page()


class GetModule(Query, frozen=True, kw_only=True, tag="module.get"):
    """One module by its `appId`."""

    app_id: str


AnyModuleQuery = ListModules | GetModule


class ModuleAnnounced(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """An executor knows this module; the last one on the subject counts."""

    at: datetime
    module: ModuleInfo
