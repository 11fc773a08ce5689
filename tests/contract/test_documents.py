"""The committed documents are what the code serves, whole, and their examples are true (`make contracts`)."""

import asyncio
import functools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from libs.common import codec
from services.gateway import asyncapi, contracts, openapi, samples
from services.gateway.flow_like import surface
from services.gateway.frames import frames_of
from services.gateway.operations import operation_of
from services.gateway.routing import Route
from tests.contract.examples import GOLDEN
from tests.contract.schemas import misfits, references, resolved

FOLDER = Path(__file__).parents[2] / "docs/contracts"
DOCUMENTS = ("openapi.json", "asyncapi.json")
Json = Any


@functools.cache
def written() -> dict[str, bytes]:
    return contracts.documents()


@functools.cache
def table() -> tuple[Route, ...]:
    return tuple(asyncio.run(contracts.route_table()))


@functools.cache
def document(name: str) -> Json:
    return msgspec.json.decode(written()[name])


def operations() -> Iterator[tuple[str, Json]]:
    for path, methods in document("openapi.json")["paths"].items():
        for method, told in methods.items():
            yield f"{method.upper()} {path}", told


@pytest.mark.parametrize("name", DOCUMENTS)
def test_the_committed_document_is_what_the_code_says(name: str) -> None:
    assert (FOLDER / name).read_bytes() == written()[name], "run `make contracts` and commit what it writes"


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_reference_leads_somewhere(name: str) -> None:
    refs = references(document(name))
    assert refs
    assert [ref for ref in refs if resolved(document(name), ref) is None] == []


def test_every_route_is_an_operation_and_every_operation_a_route() -> None:
    assert {name for name, _ in operations()} == {f"{route.method} {route.path}" for route in table()}


def test_every_handler_declares_what_it_does() -> None:
    declared = {f"{route.method} {route.path}": operation_of(route) for route in table()}
    assert [
        name for name, told in declared.items() if told is None or not told.summary or not told.answers
    ] == []


def test_every_parameter_of_a_path_is_told() -> None:
    for name, told in operations():
        in_path = [parameter["name"] for parameter in told.get("parameters", ()) if parameter["in"] == "path"]
        assert in_path == re.findall(r"\{(\w+)\}", name), name


def test_operations_have_names_of_their_own() -> None:
    names = [told["operationId"] for _, told in operations()]
    assert len(names) == len(set(names))


def test_no_parameter_is_told_twice() -> None:
    for name, told in operations():
        places = [(parameter["in"], parameter["name"]) for parameter in told.get("parameters", ())]
        assert len(places) == len(set(places)), name


def test_every_error_has_the_format_of_errors() -> None:
    names = {"": "Problem", openapi.SECOND: "ErrorEnvelope"}
    for name, told in document("openapi.json")["components"]["responses"].items():
        prefix, status = name[:-3], int(name[-3:])
        content = told["content"]["application/json"]
        assert content["schema"] == {"$ref": f"#/components/schemas/{names[prefix]}"}
        assert prefix or content["example"]["statusCode"] == status


def test_each_surface_answers_errors_in_its_own_envelope() -> None:
    for name, told in operations():
        second = surface.covers(name.partition(" ")[2])
        refs = [
            answer["$ref"].rpartition("/")[2] for answer in told["responses"].values() if "$ref" in answer
        ]
        assert refs, name
        assert {ref.startswith(openapi.SECOND) for ref in refs} == {second}, name
        assert {tag.startswith(openapi.SECOND) for tag in told["tags"]} == {second}, name


def test_every_body_has_an_example_that_its_struct_reads() -> None:
    bodies = {told.body for route in table() if (told := operation_of(route)) and told.body is not None}
    assert {kind.__name__ for kind in bodies} == set(samples.BODIES)
    for kind in bodies:
        msgspec.convert(samples.body(kind), kind)


def test_every_example_fits_its_schema() -> None:
    root, checked = document("openapi.json"), 0
    for name, told in operations():
        parts = [
            told.get("requestBody", {}),
            *(_followed(answer, root) for answer in told["responses"].values()),
        ]
        for content in (content for part in parts for content in part.get("content", {}).values()):
            if "example" in content:
                assert misfits(content["example"], content["schema"], root) == [], name
                checked += 1
    assert checked > 2 * len(table())


def test_every_type_of_the_bus_and_every_frame_is_a_message_of_a_channel() -> None:
    root = document("asyncapi.json")
    frames = {kind.replace(":", ".") for kind in asyncapi.FRAMES}
    assert set(root["components"]["messages"]) == set(codec.TYPES) | frames
    assert {name for channel in root["channels"].values() for name in channel["messages"]} == (
        set(codec.TYPES) | frames
    )


def test_every_part_of_an_address_is_told() -> None:
    for channel in document("asyncapi.json")["channels"].values():
        assert list(channel.get("parameters", {})) == re.findall(r"\{(\w+)\}", channel["address"])


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.json")), ids=lambda path: path.stem)
def test_a_recorded_message_fits_its_schema(path: Path) -> None:
    root = document("asyncapi.json")
    if path.stem in codec.TYPES:
        schema = root["components"]["messages"][path.stem]["payload"]
        assert misfits(msgspec.json.decode(path.read_bytes()), schema, root) == []


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("headrace.play.*.json")), ids=lambda path: path.stem)
def test_a_frame_is_what_the_document_says(path: Path) -> None:
    root = document("asyncapi.json")
    batch = b"[" + path.read_bytes() + b"]"
    for frame in frames_of(codec.decode_commit(batch, sequence=1), shard=0).frames:
        told = msgspec.json.decode(frame.text(str(frame.position)))
        schema = root["components"]["messages"][frame.type.replace(":", ".")]["payload"]
        assert misfits(told, schema, root) == []
        assert told.keys() <= resolved(root, schema["$ref"])["properties"].keys()


def test_every_example_of_a_frame_fits_its_schema() -> None:
    root = document("asyncapi.json")
    for kind in asyncapi.FRAMES:
        message = root["components"]["messages"][kind.replace(":", ".")]
        assert misfits(message["examples"][0]["payload"], message["payload"], root) == []


@pytest.mark.parametrize(
    ("value", "schema"),
    [
        (1, {"type": "string"}),
        (True, {"type": "integer"}),
        ({}, {"type": "object", "required": ["a"]}),
        ([1, "a"], {"type": "array", "items": {"type": "integer"}}),
        ("c", {"enum": ["a", "b"]}),
        (None, {"anyOf": [{"type": "string"}, {"type": "integer"}]}),
        (-1, {"type": "integer", "minimum": 0}),
    ],
)
def test_what_does_not_fit_is_found(value: Json, schema: Json) -> None:
    assert misfits(value, schema, {}) != []


def _followed(answer: Json, root: Json) -> Json:
    return resolved(root, answer["$ref"]) if "$ref" in answer else answer
