"""XML and HTML: parts of them by XPath, and XML as a value (spec flow8 section 7, the XPath of its title)."""

from typing import Annotated, Any

from lxml import etree
from msgspec import Meta, Struct

from libs.expressions.errors import Fault
from libs.expressions.xpath import Format, parsed, select
from services.executor.modules.contract import Module, ModuleFailed, PureModule, Step
from services.executor.modules.nesting import NESTING_MAX

Document = Annotated[str, Meta(description="The text of the document.")]
ATTRIBUTE, TEXT = "@", "#text"


class XPathArgs(Struct, frozen=True, kw_only=True):
    """Args of `xpath`."""

    input: Document
    expression: Annotated[str, Meta(min_length=1, description="An XPath 1.0 expression.")]
    format: Annotated[
        Format, Meta(description="What the document is; `auto` takes what begins as HTML for HTML.")
    ] = "auto"
    namespaces: Annotated[
        dict[str, str],
        Meta(description="Prefixes for the expression; those that the document's root declares are known."),
    ] = {}


class XPath(PureModule[XPathArgs]):
    """Parts of a document."""

    app_id = "xpath"
    isolated = True
    docs = (
        "Picks texts out of XML or HTML by XPath 1.0. `matches` are the texts of the nodes found, or the one text, "
        "number or boolean that the expression gives; `first` is the first, null when there is none. In expressions "
        "the functions `xpath` and `xpathFirst` do the same."
    )
    Args = XPathArgs
    shown_args = frozenset({"input", "expression"})
    args_example = {
        "input": '<order id="7"><item sku="A-1">Ink</item><item sku="B-2">Pen</item></order>',
        "expression": "//item/@sku",
    }
    out_example = {"matches": ["A-1", "B-2"], "first": "A-1", "count": 2}

    def evaluate(self, args: XPathArgs, step: Step) -> dict[str, Any]:
        """Return what matches, the first of it, and how many. Raises ModuleFailed."""
        try:
            found = select(args.input, args.expression, kind=args.format, namespaces=args.namespaces)
        except Fault as fault:
            raise ModuleFailed(f"xpath: {fault}", final=True) from fault
        matches = found if isinstance(found, list) else [found]
        return {"matches": matches, "first": matches[0] if matches else None, "count": len(matches)}


class XmlParseArgs(Struct, frozen=True, kw_only=True):
    """Args of `xml-parse`."""

    input: Document


class XmlParse(PureModule[XmlParseArgs]):
    """XML to a value."""

    app_id = "xml-parse"
    isolated = True
    docs = (
        "Reads XML as an object: an element by its name, attributes as `@name`, text beside them as `#text`, elements "
        "that repeat as a list, an element of nothing but text as that text. Prefixes stay, namespaces do not."
    )
    Args = XmlParseArgs
    shown_args = frozenset({"input"})
    args_example = {"input": '<order id="7"><item>Ink</item><item>Pen</item><note/></order>'}
    out_example = {"result": {"order": {"@id": "7", "item": ["Ink", "Pen"], "note": None}}}

    def evaluate(self, args: XmlParseArgs, step: Step) -> dict[str, Any]:
        """Return the value. Raises ModuleFailed."""
        try:
            root = parsed(args.input, "xml")
        except Fault as fault:
            raise ModuleFailed(f"xml-parse: {fault}", final=True) from fault
        return {"result": {_name(root): _value(root, NESTING_MAX - 2)}}


def _value(element: Any, room: int) -> Any:
    if room <= 0:
        raise ModuleFailed(f"xml-parse: input nests more than {NESTING_MAX} deep", final=True)
    made: dict[str, Any] = {
        ATTRIBUTE + etree.QName(name).localname: value for name, value in element.attrib.items()
    }
    lists: set[str] = set()
    text = element.text or ""
    for child in element:
        text += child.tail or ""
        if not isinstance(child.tag, str):
            continue  # a comment
        name, value = _name(child), _value(child, room - 1)
        if name in lists:
            made[name].append(value)
        elif name in made:
            made[name] = [made[name], value]
            lists.add(name)
        else:
            made[name] = value
    text = text.strip()
    if not made:
        return text or None
    return made | {TEXT: text} if text else made


def _name(element: Any) -> str:
    local = etree.QName(element).localname
    return f"{element.prefix}:{local}" if element.prefix else local


MODULES: tuple[type[Module[Any]], ...] = (XPath, XmlParse)
