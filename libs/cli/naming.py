"""Things as people name them: by id, or by the one field that tells them apart."""

import re
from collections.abc import Callable
from urllib.parse import quote

from libs.cli.client import Client, Json
from libs.cli.errors import CommandFailed

ID = re.compile(r"[0-9a-f]{24}")


def _any(_: Json) -> bool:
    return True


async def find(
    client: Client, path: str, named: str, field: str, *, among: Callable[[Json], bool] = _any
) -> Json:
    """Return the entry of a list that a person means by its id, or by this field.

    Raises CommandFailed when it is none, or several.
    """
    entries = [entry for entry in await client.pages(path) if among(entry)]
    found = [entry for entry in entries if entry["id"] == named]
    found = found or [entry for entry in entries if entry[field] == named]
    noun = path.rpartition("/")[2].removesuffix("s")
    if not found:
        raise CommandFailed(f"no {noun} {named}: `headrace {noun.removeprefix('api-')} list` shows them")
    if len(found) > 1:
        ids = ", ".join(entry["id"] for entry in found)
        raise CommandFailed(f"several are named {named}: {ids}; name one by its id")
    return found[0]


async def path_of(client: Client, path: str, named: str, field: str) -> str:
    """Return the path of the entry that a person means. Raises as `find`; an id is taken as it is."""
    if ID.fullmatch(named):
        return f"{path}/{named}"
    return f"{path}/{(await find(client, path, named, field))['id']}"


async def flow_id(client: Client, flow: str) -> str:
    """Return the id of a flow named by id or permanentId. Raises Answered when there is none."""
    answer = await client.call("GET", f"/api/flows/{quote(flow, safe='')}")
    return str(answer["id"])
