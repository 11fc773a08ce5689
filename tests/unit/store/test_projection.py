"""The fold from messages to rows covers every event there is."""

from typing import get_args

from libs.common.messages import play as m
from services.store.read_models.plays import _FOLDS


def test_every_event_of_a_play_has_its_fold() -> None:
    assert set(_FOLDS) == set(get_args(m.PlayEvent))
