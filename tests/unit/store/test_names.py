"""permanentIds and refs."""

import pytest

from libs.common.ids import is_id
from services.store.domain.names import (
    REF_CHARS_MAX,
    REF_PATTERN,
    SLUG_CHARS_MAX,
    derived_ref,
    is_permanent_id,
    slug_candidate,
    slug_of,
)


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("Invoice Processing", "invoice-processing"),
        ("  Größe & Maß!  ", "grosse-mass"),
        ("v2.1_final", "v2-1-final"),
        ("請求書", "flow"),
        ("---", "flow"),
    ],
)
def test_a_slug_is_the_kebab_case_of_the_name(name: str, slug: str) -> None:
    assert slug_of(name) == slug


def test_a_slug_is_never_taken_for_an_id() -> None:
    slug = slug_of("a1" * 12)
    assert slug == "flow-" + "a1" * 12
    assert not is_id(slug)
    assert is_permanent_id(slug)


def test_a_long_slug_is_cut_and_still_a_permanent_id() -> None:
    slug = slug_of("word " * 100)
    assert len(slug) <= SLUG_CHARS_MAX
    assert is_permanent_id(slug_candidate(slug, 12345))


def test_only_the_first_candidate_has_no_number() -> None:
    assert [slug_candidate("a", n) for n in (1, 2, 3)] == ["a", "a-2", "a-3"]


@pytest.mark.parametrize("text", ["", "A", "a--b", "-a", "a.b", "a b", "a1" * 12, "a" * 200])
def test_what_is_no_permanent_id(text: str) -> None:
    assert not is_permanent_id(text)


@pytest.mark.parametrize(
    ("name", "taken", "ref"),
    [
        ("Fetch invoice", set(), "fetchInvoice"),
        ("Fetch invoice", {"fetchInvoice", "fetchInvoice2"}, "fetchInvoice3"),
        ("HTTP call", set(), "httpCall"),
        ("2nd step", set(), "step2ndStep"),
        ("args", set(), "args2"),
        ("Input", set(), "input2"),
        ("請求書", set(), "step"),
    ],
)
def test_a_ref_is_the_camel_case_of_the_name_and_unique(name: str, taken: set[str], ref: str) -> None:
    assert derived_ref(name, taken) == ref


def test_a_long_ref_stays_within_its_limit_with_its_number() -> None:
    name = "x" * 500
    first = derived_ref(name, set())
    second = derived_ref(name, {first})
    assert {len(first), len(second)} == {REF_CHARS_MAX}
    assert second.endswith("2")
    assert REF_PATTERN.fullmatch(second)
