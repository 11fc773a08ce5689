"""What people write who know other languages, and what stands for it here."""

# By sign, two signs first.
_SIGNS = {
    "==": "eq a b", "!=": "ne a b", "<=": "le a b", ">=": "ge a b", "&&": "and a b", "||": "or a b",
    "??": "default a b", "+": "add a b", "-": "sub a b", "*": "mul a b", "/": "div a b", "%": "mod a b",
    "=": "eq a b", "<": "lt a b", ">": "gt a b", "!": "not a", "?": "ternary condition a b",
}  # fmt: skip
_ARGS, _STEP, _KV = "$prev.args.<name>", "$prev.<ref>.<field>", "$kv.<key>"
_NAMES = {
    "$args": _ARGS, "$input": _ARGS, "$json": _ARGS, "$trigger": _ARGS, "$params": _ARGS, "args": _ARGS, "input": _ARGS,
    "inputs": _ARGS, "trigger": _ARGS, "flow_input": _ARGS, "$node": _STEP, "$steps": _STEP, "$outputs": _STEP,
    "steps": _STEP, "results": _STEP, "outputs": _STEP, "prev": _STEP, "$env": _KV, "$vars": _KV, "$secrets": _KV,
    "$secret": _KV, "env": _KV, "vars": _KV, "secret": _KV, "secrets": _KV, "kv": _KV, "now": "$now",
    "$today": "$date.now", "date": "$date.format", "uuid": "$rand.uuid", "$execution": "$playId",
    "$workflow": "$flowId", "$company": "$companyId", "flow": "$flowId",
}  # fmt: skip


def for_sign(text: str, at: int) -> str:
    """What to write instead of the operator at this place; empty when there is none."""
    sign = next((sign for sign in (text[at : at + 2], text[at : at + 1]) if sign in _SIGNS), "")
    return f"there is no operator {sign}; write ({_SIGNS[sign]})" if sign else ""


def for_name(name: str) -> str:
    """What a name of another language is called here; empty when nothing is."""
    return _NAMES.get(name, "")
