"""When a dead process is started again."""

from deploy.local.supervisor import BACKOFF_S_MAX, backoff_s


def test_the_first_death_is_answered_at_once() -> None:
    assert backoff_s(1) == 0.0


def test_the_wait_grows_with_each_death_in_a_row() -> None:
    assert [backoff_s(deaths) for deaths in (2, 3, 4)] == [0.25, 0.5, 1.0]


def test_the_wait_is_capped() -> None:
    assert backoff_s(100_000) == BACKOFF_S_MAX
