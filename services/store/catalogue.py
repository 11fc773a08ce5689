"""The modules that executors have announced: what a step may name as its `appId` (spec flow8 section 17.9)."""

import asyncio

import msgspec
import structlog

from libs.common import background, codec, subjects
from libs.common.bus import Bus, Message, Subscription
from libs.common.errors import NotFound, Unavailable
from libs.common.messages.module import SYSTEM, GetModule, ListModules, ModuleAnnounced, ModuleInfo
from libs.common.messages.query import Rows

NOUN = "module"
RELOAD_DELAY_S = 0.5

log = structlog.get_logger(__name__)


class Catalogue:
    """All announced modules by `appId`, kept up to date."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._modules: dict[str, ModuleInfo] = {}
        self._subscription: Subscription | None = None
        self._stale = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Follow announcements, then load those made before. Raises Unavailable when NATS does not answer."""
        # In this order: what is announced in between is seen twice, never missed.
        self._subscription = await self._bus.subscribe(subjects.live_definition(NOUN), self._announced)
        await self._load()
        self._bus.on_reconnected(self._stale.set)
        self._task = background.keep(self._reload(), name="module catalogue")

    async def stop(self) -> None:
        """Stop following."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._subscription is not None:
            await self._subscription.close()

    def modules(self) -> dict[str, ModuleInfo]:
        """Return the modules. Raises Unavailable as long as no executor has announced any."""
        if not self._modules:
            raise Unavailable("no executor has announced its modules yet")
        return self._modules

    async def page(self, query: ListModules) -> Rows:
        """Return a page of the modules, by name. Raises Unavailable as `modules`."""
        modules = sorted(self.modules().values(), key=lambda module: module.app_id)
        first = query.page.page * query.page.size
        return Rows(modules[first : first + query.page.size], len(modules))

    async def get(self, query: GetModule) -> ModuleInfo:
        """Return one module. Raises NotFound (MODULE_NOT_FOUND), Unavailable as `modules`."""
        module = self.modules().get(query.app_id)
        if module is None:
            raise NotFound(f"there is no module {query.app_id[:80]}", code="MODULE_NOT_FOUND")
        return module

    async def _load(self) -> None:
        for stored in await self._bus.load(subjects.DEFINITIONS, subjects.definition(NOUN, SYSTEM, "*")):
            self._learn(stored.subject, stored.data)

    async def _reload(self) -> None:
        while True:
            await self._stale.wait()
            self._stale.clear()
            try:
                await self._load()
            except Unavailable as error:
                log.warning("catalogue_reload_failed", error=error.message)
                await asyncio.sleep(RELOAD_DELAY_S)
                self._stale.set()

    def _announced(self, message: Message) -> None:
        self._learn(message.subject, message.data)

    def _learn(self, subject: str, payload: bytes) -> None:
        try:
            event = codec.last_event(payload).data
        except msgspec.DecodeError as error:
            log.warning("announcement_unreadable", subject=subject, error=str(error))
            return
        if isinstance(event, ModuleAnnounced):
            self._modules = {**self._modules, event.module.app_id: event.module}
