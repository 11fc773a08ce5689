"""XPath 1.0 over XML and HTML: safe parsing, and a bound on the work before it is done (flow8 section 7).

libxml2 evaluates an expression to its end, however long that takes. So the work is estimated first, from the number of
nodes and from the shape of the expression: how many parts that look through the whole document stand inside each other.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Literal, NamedTuple

from lxml import etree

from libs.expressions.errors import Fault
from libs.expressions.values import settle

DOCUMENT_CHARS_MAX = 1_048_576
EXPRESSION_CHARS_MAX = 1_024
MATCHES_MAX = 10_000
# Nodes that one evaluation may look at, by estimate; some 0.3 s.
VISITS_MAX = 20_000_000
EXPRESSIONS_CACHED_MAX = 256

Format = Literal["auto", "xml", "html"]
FORMATS: tuple[Format, ...] = ("auto", "xml", "html")

# Entities are declared in there: they read files, and multiply.
_DECLARATIONS = re.compile(r"<!DOCTYPE[^>\[]*\[|<!ENTITY", re.IGNORECASE)
_HTML = re.compile(r"\s*(?:<!--.*?-->\s*)*(?:<!doctype\s+html|<html[\s>])", re.IGNORECASE | re.DOTALL)
_XHTML = re.compile(r"\s*<\?xml", re.IGNORECASE)
_LITERAL = re.compile(r"'[^']*'|\"[^\"]*\"")
# What looks through all of a document: the root, any depth, and everything before or behind.
_FROM_ROOT = re.compile(
    r"(?:^|[(|,=<>+*-]|\bor\b|\band\b|\bdiv\b|\bmod\b)\s*/|(?:following|preceding)(?:-sibling)?\s*::"
)
_DEEP = re.compile(r"//|(?:descendant|ancestor)(?:-or-self)?\s*::")
_COMPARISON = re.compile(r"[=<>]")


class _Shape(NamedTuple):
    """How the work grows: with which power of the nodes, and of the depth."""

    nodes: int
    depth: int


def select(
    document: str, expression: str, *, kind: Format = "auto", namespaces: Mapping[str, str] | None = None
) -> Any:
    """Return what an XPath expression gives: a list of texts for nodes, else a text, number or boolean.

    The text of an element is all text in it. Prefixes that the root declares can be used beside `namespaces`. Raises
    Fault for a document or an expression that is none, and beyond a limit.
    """
    root = parsed(document, kind)
    known = {prefix: uri for prefix, uri in root.nsmap.items() if prefix} | dict(namespaces or {})
    evaluate = _compiled(expression, tuple(sorted(known.items())))
    _demand_bounded(expression, root)
    try:
        found = evaluate(root.getroottree())
    except etree.XPathError as error:
        raise Fault(f"not a valid XPath expression: {error}") from error
    return _value(found)


def parsed(document: str, kind: Format = "auto") -> Any:
    """Return the root of a document. Raises Fault with line and column for what is none."""
    if len(document) > DOCUMENT_CHARS_MAX:
        raise Fault(f"a document has at most {DOCUMENT_CHARS_MAX} characters")
    if _DECLARATIONS.search(document):
        raise Fault("a document type with declarations inside is not allowed")
    html = kind == "html" or (kind == "auto" and _HTML.match(document) and not _XHTML.match(document))
    try:
        content = document.encode()
        root = etree.fromstring(content, _html_parser() if html else _xml_parser())
    except etree.XMLSyntaxError as error:
        raise Fault(f"not valid {'HTML' if html else 'XML'}: {error.msg}") from error
    except (ValueError, UnicodeEncodeError) as error:
        raise Fault("the document holds characters that cannot stand in one") from error
    if root is None:
        raise Fault("the document is empty")
    return root


def _xml_parser() -> etree.XMLParser:
    return etree.XMLParser(
        encoding="utf-8",
        resolve_entities=False,
        load_dtd=False,
        no_network=True,
        huge_tree=False,
        remove_pis=True,
    )


def _html_parser() -> Any:
    return etree.HTMLParser(encoding="utf-8", no_network=True, huge_tree=False, remove_pis=True)


@lru_cache(maxsize=EXPRESSIONS_CACHED_MAX)
def _compiled(expression: str, namespaces: tuple[tuple[str, str], ...]) -> Any:
    if len(expression) > EXPRESSION_CHARS_MAX:
        raise Fault(f"an XPath expression has at most {EXPRESSION_CHARS_MAX} characters")
    try:
        # Without `regexp`: its functions would run Python's backtracking patterns.
        return etree.XPath(expression, namespaces=dict(namespaces), regexp=False, smart_strings=False)
    except (etree.XPathError, ValueError, TypeError) as error:
        raise Fault(f"not a valid XPath expression: {error}") from error


def _demand_bounded(expression: str, root: Any) -> None:
    shape = _shape(expression)
    if shape == (1, 0):
        return
    nodes, depth = _measured(root)
    visits = 1
    for factor in [nodes] * shape.nodes + [depth] * shape.depth:
        visits *= factor
        if visits > VISITS_MAX:
            raise Fault(
                "the expression would look through the document too often: it has too many nodes for it"
            )


def _measured(root: Any) -> tuple[int, int]:
    """Return the number of nodes (elements, attributes and texts, about) and the depth of the tree."""
    nodes, depth, deepest = 1, 0, 1
    for event, element in etree.iterwalk(root, events=("start", "end")):
        if event == "start":
            depth += 1
            deepest = max(deepest, depth)
            nodes += 2 + len(element.attrib)
        else:
            depth -= 1
    return nodes, deepest


@lru_cache(maxsize=EXPRESSIONS_CACHED_MAX)
def _shape(expression: str) -> _Shape:
    """Return how the work of an expression grows, from the parts of it in brackets inside each other."""
    bare = _LITERAL.sub("''", expression)
    levels: list[list[str]] = [[""]]
    worst = _Shape(1, 0)
    for char in bare:
        if char == "[":
            levels.append([""])
        elif char == "]" and len(levels) > 1:
            worst = max(worst, _of_levels(levels))
            levels.pop()
        levels[-1][0] += char if char != "[" else ""
    return max(worst, _of_levels(levels))


def _of_levels(levels: list[list[str]]) -> _Shape:
    """Return the growth of these parts, each of which is evaluated for the nodes of the one before."""
    nodes, depth = 1, 0
    for level, (text,) in enumerate(levels):
        from_root, deep = len(_FROM_ROOT.findall(text)), len(_DEEP.findall(text))
        if level:
            nodes += bool(from_root)
            depth += bool(deep and not from_root)
        else:
            # The first look through the document is what everything costs at least.
            axes = len(re.findall(r"(?:following|preceding)(?:-sibling)?\s*::", text))
            nodes += bool(axes)
            depth += deep > 1
        nodes += bool(from_root + deep > 1 and _COMPARISON.search(text))
    return _Shape(nodes, depth)


def _value(found: Any) -> Any:
    if isinstance(found, list):
        if len(found) > MATCHES_MAX:
            raise Fault(f"more than {MATCHES_MAX} nodes match")
        return [_text(node) for node in found]
    if isinstance(found, bool):
        return found
    return settle(found) if isinstance(found, float) else str(found)


def _text(node: Any) -> str:
    if isinstance(node, str):
        return str(node)
    if isinstance(node, tuple):
        return str(node[1])
    return str(node.xpath("string()", smart_strings=False))
