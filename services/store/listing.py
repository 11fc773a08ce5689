"""Pages of lists from the read models, within one company and after what the asker knows (design D11)."""

import asyncio
from collections.abc import Callable
from typing import Any

from libs.common.messages.query import Page, Query, Span
from services.store.database import Database, Row
from services.store.progress import Progress

# One play can be read from the log instead; a list has nothing but the read model.
AFTER_WAIT_S_MAX = 1.0
LIST_WAIT_S_MAX = 5.0
PAGE_SIZE_MAX = 1_000
PAGE_NUMBER_MAX = 10_000_000


class Where:
    """A condition that grows by what is asked for; the first is always whose it is: a company's, unless said otherwise.

    Only what is asked for stands in the statement, so that the index that fits is found.
    """

    def __init__(self, company_id: str, *, column: str = "company_id") -> None:
        self.args: list[Any] = [company_id]
        self.text = f"{column} = $1"

    def add(self, condition: str, value: Any) -> "Where":
        """Add `condition`, which ends where its parameter goes, unless the value is None."""
        if value is not None:
            # No text in the tables holds U+0000, and Postgres takes none as a parameter.
            self.args.append(value.replace("\0", "\ufffd") if isinstance(value, str) else value)
            self.text += f" and {condition}${len(self.args)}"
        return self


class Listing:
    """Reads rows and pages of rows."""

    def __init__(self, database: Database, progress: Progress) -> None:
        self._database = database
        self._progress = progress

    async def caught_up(self, query: Query, *, within_s: float = LIST_WAIT_S_MAX) -> bool:
        """Wait until what the asker knows is projected; tell whether it was in time."""
        waits = (
            self._progress.reached(stream, sequence, timeout_s=within_s)
            for stream, sequence in query.after.items()
        )
        return all(await asyncio.gather(*waits))

    async def page(
        self,
        columns: str,
        source: str,
        where: Where,
        order: str,
        page: Page | Span,
        *,
        around: Callable[[str], str] = str,
    ) -> tuple[list[Row], int]:
        """Return the rows of a page and how many there are in all. The texts are ours, the arguments the asker's.

        `around` makes the statement that is run of the one that selects the page.
        """
        size, offset = bounds(page)
        tail = f"from {source} where {where.text}"
        select = f"select {columns} {tail} order by {order} limit {size} offset {offset}"
        rows = await self._database.rows(around(select), *where.args)
        # A first page that is not full is the whole list.
        if offset == 0 and len(rows) < size:
            return rows, len(rows)
        counted = await self._database.row(f"select count(*) {tail}", *where.args)
        return rows, 0 if counted is None else int(counted["count"])

    async def row(self, columns: str, source: str, where: Where) -> Row | None:
        """Return one row, None when there is none."""
        sql = f"select {columns} from {source} where {where.text}"  # noqa: S608 - names and conditions of ours
        return await self._database.row(sql, *where.args)


def bounds(page: Page | Span) -> tuple[int, int]:
    """Return how many rows a page has at most, and how many are before it."""
    if isinstance(page, Span):
        return max(1, min(page.limit, PAGE_SIZE_MAX)), max(0, min(page.offset, PAGE_NUMBER_MAX))
    size = max(1, min(page.size, PAGE_SIZE_MAX))
    return size, max(0, min(page.page, PAGE_NUMBER_MAX)) * size
