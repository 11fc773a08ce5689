"""Flows as files, JSON or YAML: read one, write one, and what makes a flow equal to its file. Pure.

A file states the whole of a flow: what it leaves out has its default. Steps are known by their `ref`.
"""

from typing import Any, Literal, NamedTuple

import msgspec

from libs.cli import yaml_text
from libs.cli.errors import USAGE, CommandFailed
from libs.common.messages.flow import Execution, OnError, Retry

Json = dict[str, Any]


class LayerFile(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """A step in a file; without an `index` it comes after the one above it."""

    ref: str
    name: str = ""
    app_id: str
    index: int | None = None
    args: dict[str, Any] = {}
    timeout: int = 0
    retry: Retry | None = None
    filters: tuple[dict[str, Any], ...] = ()
    needs_approval: bool | None = None  # None: when it has an `approval`
    approval: dict[str, Any] | None = None
    component_config_ids: dict[str, str] = {}
    link_ids_by_type: dict[str, str] = {}
    module_version: int = 1
    on_error: OnError = "fail"
    defer_after_ms: int = 0


class FlowFile(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """A flow in a file."""

    permanent_id: str = ""
    name: str
    enabled: bool = True
    category: str = ""
    group_id: str | None = None
    kv_inherit: str | bool = "true"
    kv_conflict: str = "child"
    execution: Execution = Execution()
    layers: tuple[LayerFile, ...] = ()


class Change(NamedTuple):
    """One call that brings a flow nearer to its file; `verb` is create, update or delete, `ref` of a step."""

    verb: str
    ref: str | None
    fields: Json
    layer_id: str = ""

    def __str__(self) -> str:
        what = "flow" if self.ref is None else f"layer {self.ref}"
        named = self.verb == "update"
        return f"{self.verb} {what}" + (f": {', '.join(self.fields)}" if named else "")


Form = Literal["json", "yaml"]
YAML_ENDINGS = (".yaml", ".yml")
_decode = msgspec.json.Decoder(FlowFile).decode


def read(content: bytes, name: str) -> FlowFile:
    """Return the flow that a file states, in JSON when it begins with a brace, else in YAML.

    Raises CommandFailed naming the field that does not fit.
    """
    try:
        flow = _decode(content) if content.lstrip().startswith(b"{") else _of_yaml(content)
    except (msgspec.DecodeError, ValueError) as error:
        raise CommandFailed(f"{name} is not a flow: {error}", USAGE) from error
    refs = [layer.ref for layer in flow.layers]
    twice = sorted({ref for ref in refs if refs.count(ref) > 1})
    if twice:
        raise CommandFailed(f"{name} is not a flow: ref {twice[0]} is used twice", USAGE)
    if "" in refs:
        raise CommandFailed(f"{name} is not a flow: a layer has an empty ref", USAGE)
    # The API takes both spellings and shows this one.
    inherit = flow.kv_inherit
    if isinstance(inherit, bool):
        inherit = "true" if inherit else "false"
    return msgspec.structs.replace(flow, kv_inherit=inherit, layers=_indexed(flow.layers))


def of_answer(answer: Json) -> FlowFile:
    """Return the file that states a flow as the API shows it."""
    fields = {name: answer[name] for name in _names(FlowFile) if name in answer}
    layers = [
        {name: layer[name] for name in _names(LayerFile) if name in layer} for layer in answer["layers"]
    ]
    return msgspec.convert({**fields, "layers": layers}, FlowFile)


def form_of(file: str) -> Form:
    """Return the form that a file's name asks for; JSON where it tells none."""
    return "yaml" if file.endswith(YAML_ENDINGS) else "json"


def text_of(flow: FlowFile, form: Form = "json") -> str:
    """Return a file's text: what has its default is left out, and keys stand in a fixed order."""
    whole = msgspec.to_builtins(flow)
    lean = {
        name: value for name, value in whole.items() if name == "name" or value != _default(FlowFile, name)
    }
    lean["layers"] = [_lean(layer) for layer in flow.layers]
    if form == "yaml":
        return yaml_text.write(lean)
    return msgspec.json.format(msgspec.json.encode(lean), indent=2).decode() + "\n"


def changes(wanted: FlowFile, answer: Json | None) -> list[Change]:
    """Return the calls that make a flow (None: there is none yet) equal to its file, in order; none when it is.

    Steps go before others change and others change before new ones come, so no step is in another's way.
    """
    known = None if answer is None else of_answer(answer)
    made: list[Change] = []
    settings = _settings(wanted)
    if known is None:
        made.append(Change("create", None, settings))
    else:
        old = _settings(known)
        differing = {name: value for name, value in settings.items() if value != old[name]}
        if differing:
            made.append(Change("update", None, differing))
    there = {} if known is None else {layer.ref: layer for layer in known.layers}
    ids = {} if answer is None else {layer["ref"]: str(layer["id"]) for layer in answer["layers"]}
    refs = {layer.ref for layer in wanted.layers}
    made += [Change("delete", ref, {}, ids[ref]) for ref in there if ref not in refs]
    made += [
        Change("update", layer.ref, differing, ids[layer.ref])
        for layer in wanted.layers
        if layer.ref in there and (differing := _differing(layer, there[layer.ref]))
    ]
    made += [Change("create", layer.ref, _fields(layer)) for layer in wanted.layers if layer.ref not in there]
    return made


def _of_yaml(content: bytes) -> FlowFile:
    return msgspec.convert(yaml_text.read(content.decode()), FlowFile)


def _indexed(layers: tuple[LayerFile, ...]) -> tuple[LayerFile, ...]:
    placed: list[LayerFile] = []
    after = 0
    for layer in layers:
        index = after if layer.index is None else layer.index
        gated = layer.approval is not None if layer.needs_approval is None else layer.needs_approval
        placed.append(
            msgspec.structs.replace(layer, index=index, name=layer.name or layer.ref, needs_approval=gated)
        )
        after = index + 1
    return tuple(placed)


def _settings(flow: FlowFile) -> Json:
    fields: Json = msgspec.to_builtins(flow)
    return {name: value for name, value in fields.items() if name not in {"layers", "permanentId"}}


def _fields(layer: LayerFile) -> Json:
    fields: Json = msgspec.to_builtins(layer)
    return fields


def _differing(wanted: LayerFile, known: LayerFile) -> Json:
    old = _fields(known)
    return {name: value for name, value in _fields(wanted).items() if value != old[name]}


def _lean(layer: LayerFile) -> Json:
    always = {"ref", "name", "appId", "index"}
    lean = {
        name: value
        for name, value in _fields(layer).items()
        if name in always or value != _default(LayerFile, name)
    }
    if layer.needs_approval == (layer.approval is not None):
        lean.pop("needsApproval", None)
    return lean


def _names(kind: type[msgspec.Struct]) -> list[str]:
    return [field.encode_name for field in msgspec.structs.fields(kind)]


def _default(kind: type[msgspec.Struct], name: str) -> Any:
    field = next(field for field in msgspec.structs.fields(kind) if field.encode_name == name)
    if field.default is not msgspec.NODEFAULT:
        return msgspec.to_builtins(field.default)
    return None if field.default_factory is msgspec.NODEFAULT else field.default_factory()
