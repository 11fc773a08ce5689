"""XPath over XML and HTML: what it finds, and that no document and no expression harms its reader."""

from pathlib import Path
from typing import Any

import pytest

from libs.expressions.errors import Fault
from libs.expressions.xpath import DOCUMENT_CHARS_MAX, select
from tests.fixtures.modules import evaluated, failure

ORDER = '<order id="7"><item sku="A-1">Ink <b>blue</b></item><item sku="B-2">Pen</item><!-- x --></order>'
PAGE = "<!DOCTYPE html><html><body><p class=a>One<p>Two<table><tr><td>1<td>2</table></body></html>"


@pytest.mark.parametrize(
    ("expression", "found"),
    [
        ("//item", ["Ink blue", "Pen"]),
        ("//item/@sku", ["A-1", "B-2"]),
        ("/order/item[2]/text()", ["Pen"]),
        ("//item[@sku='A-1']/b", ["blue"]),
        ("//comment()", [" x "]),
        ("//nothing", []),
        ("count(//item)", 2),
        ("string(//item[2])", "Pen"),
        ("boolean(//item)", True),
        ("number(/order/@id) div 2", 3.5),
        ("//item | /order/@id", ["7", "Ink blue", "Pen"]),
    ],
)
def test_an_expression_finds_texts_or_gives_a_value(expression: str, found: Any) -> None:
    made = select(ORDER, expression)
    assert made == found
    assert type(made) is type(found)


@pytest.mark.parametrize(
    ("expression", "found"),
    [("//p", ["One", "Two"]), ("//p/@class", ["a"]), ("//td[2]", ["2"]), ("//tr[.//td]", ["12"])],
)
def test_html_is_read_with_its_mistakes(expression: str, found: Any) -> None:
    assert select(PAGE, expression) == found


def test_namespaces_are_those_of_the_root_and_the_caller() -> None:
    document = '<a:o xmlns:a="urn:a" xmlns="urn:d"><i>1</i><a:i>2</a:i></a:o>'
    assert select(document, "/a:o/a:i") == ["2"]
    assert select(document, "//d:i", namespaces={"d": "urn:d"}) == ["1"]
    assert select(document, "//*[local-name()='i']") == ["1", "2"]


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ("", "not valid XML"),
        ("<a><b></a>", "line 1, column 11"),
        ("no markup", "not valid XML"),
        ("<a>\x00</a>", "not valid XML"),
        ("<a>\ud800</a>", "cannot stand in one"),
        ("<a>" * 300 + "</a>" * 300, "not valid XML"),
        ("<a>" + "x" * DOCUMENT_CHARS_MAX + "</a>", "at most 1048576 characters"),
        ('<!DOCTYPE a [<!ENTITY x "y">]><a>&x;</a>', "declarations inside"),
        ("<!DOCTYPE a [\n<!ELEMENT a ANY>]><a/>", "declarations inside"),
        ('<a><!ENTITY % x SYSTEM "file:///etc/passwd"></a>', "declarations inside"),
    ],
)
def test_a_document_that_is_none_is_refused_with_a_reason(document: str, reason: str) -> None:
    with pytest.raises(Fault, match=reason):
        select(document, "/a")


def test_nothing_outside_is_read(tmp_path: Path) -> None:
    secret = tmp_path / "secret.dtd"
    secret.write_text('<!ENTITY x "not yours">')
    document = f'<!DOCTYPE a SYSTEM "file://{secret}"><a>&x;</a>'
    assert select(document, "/a") == [""]
    for expression in (f"document('{secret}')", "unparsed-entity-uri('x')"):
        with pytest.raises(Fault, match="not a valid XPath expression"):
            select("<a/>", expression)


@pytest.mark.parametrize(
    "expression", ["//", "item[", "foo(1)", "$x", "//x:item", "re:test('a', '(a+)+$')", "", "a\x00b", "1 +"]
)
def test_an_expression_that_is_none_is_refused(expression: str) -> None:
    with pytest.raises(Fault, match="not a valid XPath expression"):
        select(ORDER, expression)


LARGE = "<r>" + "<i><a>1</a></i>" * 6_000 + "</r>"


@pytest.mark.parametrize(
    "expression",
    [
        "//*[count(//*) > 1]",
        "//i[//a = //i]",
        "//a[. = //a[. = //a]]",
        "//i[following::a]",
        "//i/following-sibling::i/a",
        "//*[count(/r//a[count(//i) > 1]) > 1]",
        "//a = //i//a",
        "//i[1 < count(descendant::a | //a)]",
    ],
)
def test_work_that_grows_with_the_square_of_a_large_document_is_refused(expression: str) -> None:
    with pytest.raises(Fault, match="too many nodes"):
        select(LARGE, expression)
    select(ORDER, expression)


@pytest.mark.parametrize(
    ("expression", "count"),
    [("//i/a", 6_000), ("//i[a = '1']", 6_000), ("//i[.//a]", 6_000), ("//r//i[a][position() < 10]//a", 9)],
)
def test_work_that_grows_with_the_document_is_done(expression: str, count: int) -> None:
    assert len(select(LARGE, expression)) == count


def test_only_so_many_nodes_are_given_back() -> None:
    with pytest.raises(Fault, match="more than 10000 nodes match"):
        select("<r>" + "<i/>" * 10_001 + "</r>", "//i")


# ── the modules ─────────────────────────────────────────────────────────────────────────────────────


def test_the_module_counts_what_it_finds() -> None:
    found = evaluated("xpath", {"input": PAGE, "expression": "//td", "format": "html"})
    assert found == {"matches": ["1", "2"], "first": "1", "count": 2}
    none = evaluated("xpath", {"input": ORDER, "expression": "//td"})
    assert none == {"matches": [], "first": None, "count": 0}
    assert evaluated("xpath", {"input": ORDER, "expression": "count(//item)"})["first"] == 2


def test_the_module_says_why_it_fails() -> None:
    refused = failure("xpath", {"input": "<a>", "expression": "//a"})
    assert refused.final
    assert "xpath: not valid XML: " in refused.message
    assert "line 1" in refused.message


@pytest.mark.parametrize(
    ("document", "value"),
    [
        ("<a/>", {"a": None}),
        ("<a> x <!-- c --> y </a>", {"a": "x  y"}),
        ("<a b='1'>x<c/>y</a>", {"a": {"@b": "1", "c": None, "#text": "xy"}}),
        ("<a><b>1</b><c/><b>2</b><b><d/></b></a>", {"a": {"b": ["1", "2", {"d": None}], "c": None}}),
        ("<x:a xmlns:x='urn:x'><x:b x:c='1'/></x:a>", {"x:a": {"x:b": {"@c": "1"}}}),
    ],
)
def test_xml_becomes_an_object(document: str, value: Any) -> None:
    assert evaluated("xml-parse", {"input": document}) == {"result": value}


def test_xml_that_nests_too_deep_is_refused() -> None:
    deep = "<a>" * 140 + "</a>" * 140
    assert "nests more than 128 deep" in failure("xml-parse", {"input": deep}).message
