"""Trainings are asked for in candle time, each once."""

from __future__ import annotations

from datetime import timedelta

from domain.market import Timeframe
from services.models.trainer import Trainer, TrainingRequest
from services.models.walk_forward import SplitKind
from tests.doubles import START

HOUR = timedelta(hours=1)


def hourly_trainer() -> Trainer:
    return Trainer(Timeframe.H1, every=60 * HOUR)


def test_the_first_fit_waits_for_a_thousand_matured_rows() -> None:
    trainer = hourly_trainer()

    assert trainer.on_tick(START, 999) is None
    assert trainer.on_tick(START + HOUR, 1000) == TrainingRequest(
        as_of=START + HOUR,
        effective_from=START + 2 * HOUR,
        reason="first",
        split=SplitKind.LEAN,
    )
    assert trainer.on_tick(START + 2 * HOUR, 1001) is None


def test_a_refresh_follows_every_so_many_candles() -> None:
    trainer = hourly_trainer()
    ticks = [START + n * HOUR for n in range(150)]

    requests = [trainer.on_tick(as_of, 5000) for as_of in ticks]

    asked = {n: request for n, request in enumerate(requests) if request}
    assert list(asked) == [0, 60, 120]
    assert [request.reason for request in asked.values()] == ["first", "schedule", "schedule"]
    assert asked[60].split is SplitKind.REFRESH


def test_a_request_is_answered_once_and_starts_the_schedule_anew() -> None:
    trainer = hourly_trainer()
    trainer.on_tick(START, 5000)

    trainer.request()
    requests = [trainer.on_tick(START + n * HOUR, 5000) for n in range(1, 70)]

    asked = {n: request.reason for n, request in enumerate(requests, start=1) if request}
    assert asked == {1: "request", 61: "schedule"}


def test_a_request_before_there_are_rows_is_kept() -> None:
    trainer = hourly_trainer()
    trainer.request()

    assert trainer.on_tick(START, 10) is None
    assert trainer.on_tick(START + HOUR, 1000) is not None


def test_a_fit_of_short_candles_takes_effect_after_15_minutes() -> None:
    trainer = Trainer(Timeframe.M1, every=timedelta(days=1))

    request = trainer.on_tick(START, 1000)

    assert request is not None
    assert request.effective_from == START + timedelta(minutes=15)


def test_a_resumed_trainer_keeps_to_its_schedule() -> None:
    trainer = hourly_trainer()
    trainer.resume(START)

    assert trainer.on_tick(START + 59 * HOUR, 5000) is None
    assert trainer.on_tick(START + 60 * HOUR, 5000) is not None
