"""`headrace schedule`: list, show, make, change, delete, preview, run, pause, resume and backfill schedules."""

import argparse

from libs.cli import asking, naming, play_args
from libs.cli.client import Client, Json
from libs.cli.connect import client_of
from libs.cli.errors import OK, USAGE, CommandFailed
from libs.cli.output import Printer
from libs.cli.play_commands import LIST as PLAYS

SCHEDULES = "/api/schedules"
LIST = {
    "name": "SCHEDULE", "enabled": "ENABLED", "nextRunAt": "NEXT", "lastRunAt": "LAST", "flowId": "FLOW",
    "timezone": "ZONE", "when": "WHEN",
}  # fmt: skip
SHOW = (
    "id", "name", "flowId", "cron", "every", "timezone", "enabled", "note", "args", "misfirePolicy", "overlapPolicy",
    "jitterSeconds", "startAt", "endAt", "exclusions", "nextRunAt", "lastRunAt", "lastPlayId", "queued", "backfill",
    "createdAt", "updatedAt",
)  # fmt: skip
PREVIEW = {"at": "AT", "dueAt": "STARTS"}
FIELDS = {
    "name": "name", "flow": "flowId", "cron": "cron", "every": "every", "timezone": "timezone", "enabled": "enabled",
    "misfire": "misfirePolicy", "overlap": "overlapPolicy", "jitter": "jitterSeconds", "start_at": "startAt",
    "end_at": "endAt", "exclude": "exclusions",
}  # fmt: skip


async def list_(arguments: argparse.Namespace) -> int:
    """List schedules."""
    async with client_of(arguments) as client:
        query = {"flowId": arguments.flow, "enabled": arguments.enabled}
        schedules = await client.pages(SCHEDULES, query, limit=arguments.limit)
    printer = Printer.on_stdout(arguments.output)
    if printer.table:
        schedules = [{**entry, "when": entry["cron"] or f"every {entry['every']}"} for entry in schedules]
    printer.rows(schedules, LIST)
    return OK


async def show(arguments: argparse.Namespace) -> int:
    """Show one schedule."""
    return await _told(arguments, "GET", "")


async def plays(arguments: argparse.Namespace) -> int:
    """List the plays that a schedule started."""
    async with client_of(arguments) as client:
        found = await client.pages(f"{await _path(client, arguments)}/plays", limit=arguments.limit)
    Printer.on_stdout(arguments.output).rows(found, PLAYS)
    return OK


async def preview(arguments: argparse.Namespace) -> int:
    """Tell the next times of a schedule."""
    async with client_of(arguments) as client:
        path = f"{await _path(client, arguments)}/preview"
        answer = await client.call("GET", path, query={"count": arguments.count})
    Printer.on_stdout(arguments.output).rows(answer["data"], PREVIEW)
    return OK


async def create(arguments: argparse.Namespace) -> int:
    """Make a schedule."""
    body = _fields(arguments)
    async with client_of(arguments) as client:
        made = await client.call("POST", SCHEDULES, body)
    Printer.on_stdout(arguments.output).fields(made, SHOW)
    return OK


async def update(arguments: argparse.Namespace) -> int:
    """Change a schedule."""
    body = _fields(arguments)
    if not body:
        raise CommandFailed("nothing to change: name at least one field", USAGE)
    # One way of telling the times takes the place of the other.
    if "cron" in body:
        body["every"] = None
    if "every" in body and body["every"] is not None:
        body["cron"] = None
    return await _told(arguments, "PUT", "", body)


async def delete(arguments: argparse.Namespace) -> int:
    """Delete a schedule, once that was confirmed."""
    async with client_of(arguments) as client:
        path = await _path(client, arguments)
        if not arguments.yes:
            await asking.confirm(f"delete the schedule {arguments.schedule}? [y/N] ")
        await client.call("DELETE", path)
    Printer.on_stdout("table").line(f"deleted {arguments.schedule}")
    return OK


async def run(arguments: argparse.Namespace) -> int:
    """Start a play of a schedule now."""
    async with client_of(arguments) as client:
        answer = await client.call("POST", f"{await _path(client, arguments)}/run")
    Printer.on_stdout(arguments.output).fields(answer, ("playId",))
    return OK


async def backfill(arguments: argparse.Namespace) -> int:
    """Start the plays of a span of the past."""
    body = {"from": arguments.from_, "to": arguments.to, "parallel": not arguments.in_order}
    return await _told(arguments, "POST", "/backfill", body)


async def pause(arguments: argparse.Namespace) -> int:
    """Let a schedule start nothing."""
    return await _told(arguments, "POST", "/pause", {"note": arguments.note})


async def resume(arguments: argparse.Namespace) -> int:
    """Let a paused schedule go on."""
    return await _told(arguments, "POST", "/resume", {"note": arguments.note})


async def _told(arguments: argparse.Namespace, method: str, below: str, body: Json = None) -> int:
    async with client_of(arguments) as client:
        answer = await client.call(method, f"{await _path(client, arguments)}{below}", body)
    Printer.on_stdout(arguments.output).fields(answer, SHOW)
    return OK


async def _path(client: Client, arguments: argparse.Namespace) -> str:
    return await naming.path_of(client, SCHEDULES, arguments.schedule, "name")


def _fields(arguments: argparse.Namespace) -> dict[str, Json]:
    given = {field: getattr(arguments, name) for name, field in FIELDS.items()}
    fields = {field: value for field, value in given.items() if value is not None}
    if arguments.args is not None or arguments.arg:
        fields["args"] = play_args.args(arguments.args or "{}", arguments.arg or [])
    return fields
