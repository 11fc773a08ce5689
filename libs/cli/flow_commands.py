"""`headrace flow`: list, show, apply, run, export and delete flows."""

import argparse
import asyncio
import re
import sys
from urllib.parse import quote

from libs.cli import files, flow_file, play_args
from libs.cli.asking import confirm
from libs.cli.client import Client, Json
from libs.cli.connect import client_of
from libs.cli.errors import OK, Answered, CommandFailed
from libs.cli.flow_file import Change, FlowFile
from libs.cli.output import Printer, note
from libs.cli.watching import exit_code_of, watch

LIST = {
    "permanentId": "FLOW",
    "enabled": "ENABLED",
    "version": "VERSION",
    "category": "CATEGORY",
    "name": "NAME",
}
SHOW = (
    "permanentId", "id", "name", "enabled", "category", "groupId", "kvInherit", "kvConflict", "execution",
    "version", "createdAt", "updatedAt",
)  # fmt: skip
LAYERS = {"index": "INDEX", "ref": "REF", "appId": "MODULE", "needsApproval": "APPROVAL", "name": "NAME"}
ENDED = ("playId", "state", "startedAt", "completedAt", "duration", "error", "errorCode", "out")


async def list_(arguments: argparse.Namespace) -> int:
    """List flows."""
    async with client_of(arguments) as client:
        query = {"category": arguments.category, "enabled": arguments.enabled}
        flows = await client.pages("/api/flows", query, limit=arguments.limit)
    Printer.on_stdout(arguments.output).rows(flows, LIST)
    return OK


async def show(arguments: argparse.Namespace) -> int:
    """Show one flow and its steps."""
    async with client_of(arguments) as client:
        flow = await client.call("GET", path_of(arguments.flow))
    printer = Printer.on_stdout(arguments.output)
    printer.fields(flow, SHOW)
    if printer.table:
        printer.line("")
        printer.rows(flow["layers"], LAYERS)
    return OK


async def export(arguments: argparse.Namespace) -> int:
    """Write a flow as a file that `apply` takes."""
    async with client_of(arguments) as client:
        flow = await client.call("GET", path_of(arguments.flow))
    form = arguments.output or flow_file.form_of(arguments.file)
    text = flow_file.text_of(flow_file.of_answer(flow), form)
    if arguments.file == files.STANDARD_INPUT:
        sys.stdout.write(text)
        sys.stdout.flush()
    else:
        await asyncio.to_thread(files.write, arguments.file, text)
    return OK


async def delete(arguments: argparse.Namespace) -> int:
    """Delete a flow, once its name was confirmed."""
    async with client_of(arguments) as client:
        flow = await client.call("GET", path_of(arguments.flow))
        if not arguments.yes:
            await confirm(f"delete the flow {flow['permanentId']} ({flow['name']})? [y/N] ")
        await client.call("DELETE", path_of(flow["id"]))
    Printer.on_stdout("table").line(f"deleted {flow['permanentId']}")
    return OK


async def apply(arguments: argparse.Namespace) -> int:
    """Make a flow what its file states, and tell each change."""
    content = await asyncio.to_thread(files.read, arguments.file)
    wanted = flow_file.read(content, arguments.file)
    printer = Printer.on_stdout("table")
    async with client_of(arguments) as client:
        known = await _known(client, wanted)
        changes = flow_file.changes(wanted, known)
        name = known["permanentId"] if known else wanted.permanent_id or wanted.name
        if not changes:
            printer.line(f"{name}: unchanged, version {known['version'] if known else 0}")
            return OK
        if arguments.dry_run:
            for change in changes:
                printer.line(f"{name}: would {change}")
            return OK
        flow_id = known["id"] if known else ""
        for change in changes:
            if change.ref is None and change.verb == "create":
                made = await _create(client, wanted, change)
                flow_id, name = made["id"], made["permanentId"]
            else:
                await _change(client, flow_id, change)
            printer.line(f"{name}: {change}")
        after = await client.call("GET", path_of(flow_id))
    printer.line(f"{name}: version {after['version']}")
    return OK


async def run(arguments: argparse.Namespace) -> int:
    """Start a play; wait for its end, or watch it, when asked to."""
    body: Json = {"args": play_args.args(arguments.args, arguments.arg)}
    if arguments.key:
        body["idempotencyKey"] = arguments.key
    if arguments.force:
        body["force"] = True
    printer = Printer.on_stdout(arguments.output)
    async with client_of(arguments) as client:
        answer = await client.call(
            "POST", f"{path_of(arguments.flow)}/run", body, {"wait": arguments.wait or None}
        )
        if arguments.watch:
            if printer.table:
                printer.line(f"play {answer['playId']}")
            return await watch(client, printer, answer["playId"])
    printer.fields(answer, ENDED)
    return exit_code_of(answer["state"])


def path_of(flow: str) -> str:
    """Return the path of a flow named by id or permanentId."""
    return f"/api/flows/{quote(flow, safe='')}"


async def _known(client: Client, wanted: FlowFile) -> Json:
    """Return the flow that a file means, None when there is none yet. Raises CommandFailed when it may mean several."""
    if wanted.permanent_id:
        try:
            return await client.call("GET", path_of(wanted.permanent_id))
        except Answered as error:
            if error.code != "FLOW_NOT_FOUND":
                raise
    named = [flow for flow in await client.pages("/api/flows") if flow["name"] == wanted.name]
    if wanted.permanent_id:
        # A name that a deleted flow had is never given again; this flow got the next one when it was made.
        numbered = re.compile(re.escape(wanted.permanent_id) + r"-\d+")
        named = [flow for flow in named if numbered.fullmatch(flow["permanentId"])]
    if len(named) > 1:
        found = ", ".join(flow["permanentId"] for flow in named)
        raise CommandFailed(
            f"several flows are named {wanted.name}: {found}; put a permanentId into the file"
        )
    return await client.call("GET", path_of(named[0]["id"])) if named else None


async def _create(client: Client, wanted: FlowFile, change: Change) -> Json:
    # The API derives a permanentId from the first name, so the wanted one is the first name.
    first = wanted.permanent_id or wanted.name
    made = await client.call("POST", "/api/flows", {**change.fields, "name": first})
    if first != wanted.name:
        await client.call("PUT", path_of(made["id"]), {"name": wanted.name})
    if wanted.permanent_id not in ("", made["permanentId"]):
        note(f"{wanted.permanent_id} is taken, perhaps by a deleted flow: this one is {made['permanentId']}")
    return made


async def _change(client: Client, flow_id: str, change: Change) -> None:
    flow = path_of(flow_id)
    layer = f"{flow}/layers/{change.layer_id}"
    match change.verb, change.ref:
        case "update", None:
            answer = await client.call("PUT", flow, change.fields)
        case "update", _:
            answer = await client.call("PUT", layer, change.fields)
        case "delete", _:
            answer = await client.call("DELETE", layer)
        case _:
            answer = await client.call("POST", f"{flow}/layers", change.fields)
    for warning in answer.get("warnings", ()):
        note(f"warning: {warning}")
