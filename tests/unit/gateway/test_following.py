"""Where a client wants to go on."""

import pytest

from libs.common.errors import Invalid
from services.gateway.following import parse_since, sequence_text


def test_one_shard_has_a_number() -> None:
    assert parse_since("131077", 1) == (131077,)
    assert sequence_text([131077]) == "131077"


def test_several_shards_have_a_number_each() -> None:
    assert parse_since("1-22-3", 3) == (1, 22, 3)
    assert sequence_text([1, 22, 3]) == '"1-22-3"'


def test_a_bare_zero_means_everything() -> None:
    assert parse_since("0", 3) == (0, 0, 0)


@pytest.mark.parametrize("text", ["", "x", "-1", "1-", "1.5", "1e3", "9" * 20, "1-2-3", "٣"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(Invalid, match="since"):
        parse_since(text, 1)


def test_a_number_alone_does_not_place_a_client_in_several_shards() -> None:
    with pytest.raises(Invalid, match="since"):
        parse_since("131077", 3)
