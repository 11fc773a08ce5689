"""What a flow will stumble over though it may be written: a `ref` that a layer reads and nobody provides."""

from libs.common.messages.flow import Flow, Layer
from libs.expressions import ExpressionError, compile_module_args
from libs.expressions.filters import FilterError, compile_filters
from services.store.domain.layer import Modules
from services.store.domain.names import REFS_RESERVED

# `$prev` as a whole.
_ALL = "*"


def warnings(flow: Flow, modules: Modules) -> tuple[str, ...]:
    """Return a sentence for each such read, by layer; one that comes too late counts as not provided."""
    providers = {layer.ref: layer for layer in flow.layers}
    found = []
    for layer in sorted(flow.layers, key=lambda layer: layer.index):
        for ref in sorted(_reads(layer, modules) - REFS_RESERVED - {_ALL}):
            provider = providers.get(ref)
            if provider is None:
                found.append(f"layer {layer.ref} reads $prev.{ref}, which no layer provides")
            elif provider.index >= layer.index:
                found.append(f"layer {layer.ref} reads $prev.{ref}, which is not there before it runs")
    return tuple(found)


def _reads(layer: Layer, modules: Modules) -> frozenset[str]:
    info = modules.get(layer.app_id)
    raw = frozenset(info.raw_args) if info is not None else frozenset[str]()
    try:
        args = compile_module_args(layer.args, raw=raw).refs
        return args | compile_filters(list(layer.filters)).refs
    except (ExpressionError, FilterError):
        # Written when its module read its args otherwise; the step itself will say so.
        return frozenset()
