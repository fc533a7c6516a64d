"""What a commit has to write, table for table: from events to rows and the news they make."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property, partial
from typing import Any

from backend.store import classes, payloads, rows
from backend.store.candles import batch_rows, version_rows
from backend.store.copy import Rows
from backend.store.instruments import Instruments
from backend.store.locks import panel
from backend.store.stream_log import Drafts
from domain.classes import ClassLabelBatch, ClassPredictionBatch
from domain.events import (
    Candle,
    CandleBatch,
    FeatureBatch,
    Ints,
    LabelBatch,
    ModelEvent,
    OutcomeBatch,
    PredictionBatch,
    Role,
    SentimentBatch,
    SignalBatch,
    Skill,
)
from domain.market import Instrument


@dataclass(kw_only=True)
class Write:
    """Rows of one table, and the events that they make when they are news.

    The events are as many as the rows, or none. A write without rows has events only.
    """

    turn: str
    rows: Rows | None = None
    streams: Sequence[str] = ()  # of the events
    tell: Callable[[], Drafts] | None = None  # spells the events
    versions: bool = False  # rows are candle versions
    candles: tuple[Ints, str, datetime] | None = None  # whose events: ids, timeframe, open time
    doubtful: bool = False  # the log may have told the events before
    answers: tuple[str, ...] = ()  # columns that are filled in under an existing key
    guard: str = ""  # when, over `kept` and `EXCLUDED`; "" for rows that open their key

    @cached_property
    def drafts(self) -> Drafts | None:
        """The events, spelt once."""
        return None if self.tell is None else self.tell()


class Planner:
    """Turns events into writes."""

    def __init__(self, instruments: Instruments) -> None:
        self._instruments = instruments
        self._named: dict[str, tuple[Sequence[Instrument], list[str]]] = {}
        self._writes: dict[type, Callable[[Any, Ints, str], Write]] = {
            CandleBatch: self._candles,
            FeatureBatch: _features,
            SentimentBatch: _sentiment,
            PredictionBatch: self._predictions,
            SignalBatch: self._signals,
            LabelBatch: _labels,
            OutcomeBatch: _outcomes,
            ClassLabelBatch: _class_labels,
            ClassPredictionBatch: _class_predictions,
        }

    async def plan(
        self, events: Sequence[object], versions: Sequence[Candle] | None, known_at: datetime
    ) -> list[Write]:
        """The writes of the events in their order, after those of the candle versions.

        Args:
            events: batches and single events.
            versions: None: the candle batches are all there is of their candles; empty:
                their candles are stored already.
            known_at: of `versions`.
        """
        batches = [event for event in events if isinstance(event, CandleBatch)]
        if versions is None:
            writes = [await self._batch_versions(batch) for batch in batches]
        else:
            writes = await self._versions(versions, batches[0].known_at if batches else known_at)
        stored_before = versions is not None and not versions
        verdicts: dict[str, list[Skill]] = {}
        for event in events:
            if isinstance(event, Skill):
                verdicts.setdefault(panel(event.exchange, event.timeframe), []).append(event)
                continue
            write = await self._write(event)
            writes.append(replace(write, doubtful=True) if stored_before else write)
        return [*writes, *(_verdicts(turn, told) for turn, told in verdicts.items())]

    async def _versions(self, told: Sequence[Candle], known_at: datetime) -> list[Write]:
        if not told:
            return []
        ids = await self._instruments.ids([one.instrument for one in told])
        turn = panel(told[0].instrument.exchange, told[0].timeframe)
        return [Write(turn=turn, rows=version_rows(told, ids, known_at), versions=True)]

    async def _batch_versions(self, batch: CandleBatch) -> Write:
        ids = await self._instruments.ids(batch.instruments)
        turn = panel(batch.exchange, batch.timeframe)
        return Write(turn=turn, rows=batch_rows(batch, ids), versions=True)

    async def _write(self, event: Any) -> Write:  # noqa: ANN401 - any event
        if isinstance(event, ModelEvent):
            stream = payloads.MODELS_STREAM
            tell = partial(payloads.model_drafts, event)
            return Write(turn=stream, streams=[stream], tell=tell, doubtful=True)
        ids = await self._instruments.ids(_instruments_of(event))
        turn = panel(event.exchange, event.timeframe)
        return self._writes[type(event)](event, ids, turn)

    def _predictions(self, batch: PredictionBatch, ids: Ints, turn: str) -> Write:
        found = rows.prediction_rows(batch, ids)
        if batch.role is not Role.CHAMPION:
            return Write(turn=turn, rows=found)
        streams = self._streams("predictions", batch, batch.instruments)
        tell = partial(payloads.prediction_drafts, batch, streams)
        return Write(turn=turn, rows=found, streams=streams, tell=tell)

    def _candles(self, batch: CandleBatch, ids: Ints, turn: str) -> Write:
        candles = (ids, batch.timeframe.value, batch.as_of - batch.timeframe.duration)
        streams = self._streams("candles", batch, batch.instruments)
        tell = partial(payloads.candle_drafts, batch, streams)
        return Write(turn=turn, streams=streams, tell=tell, candles=candles)

    def _signals(self, batch: SignalBatch, ids: Ints, turn: str) -> Write:
        streams = self._streams("signals", batch, _instruments_of(batch))
        return Write(
            turn=turn,
            rows=rows.signal_rows(batch, ids),
            streams=streams,
            tell=partial(payloads.signal_drafts, batch, streams),
            answers=rows.SIGNAL_ANSWERS,
            guard="" if batch.event == "opened" else rows.SIGNAL_GUARD,
        )

    def _streams(
        self,
        channel: str,
        batch: CandleBatch | PredictionBatch | SignalBatch,
        instruments: Sequence[Instrument],
    ) -> list[str]:
        """Their streams; the batches of a panel share one tuple of instruments."""
        log = f"{channel}.{batch.timeframe}.{batch.exchange}"
        named, streams = self._named.get(log, ((), []))
        if named is not instruments:
            streams = payloads.stream_names(channel, batch.timeframe, instruments)
            self._named[log] = (instruments, streams)
        return streams


def _instruments_of(event: Any) -> Sequence[Instrument]:  # noqa: ANN401 - any event
    if isinstance(event, SignalBatch):
        named = tuple(signal.instrument for signal in event.signals)
        return event.instruments if named == event.instruments else named
    instruments: Sequence[Instrument] = event.instruments
    return instruments


def _features(batch: FeatureBatch, ids: Ints, turn: str) -> Write:
    return Write(turn=turn, rows=rows.feature_rows(batch, ids))


def _sentiment(batch: SentimentBatch, ids: Ints, turn: str) -> Write:
    return Write(turn=turn, rows=rows.sentiment_rows(batch, ids))


def _labels(batch: LabelBatch, ids: Ints, turn: str) -> Write:
    found = rows.label_rows(batch, ids)
    return Write(turn=turn, rows=found, answers=rows.LABEL_ANSWERS, guard=rows.LABEL_GUARD)


def _outcomes(batch: OutcomeBatch, ids: Ints, turn: str) -> Write:
    return Write(turn=turn, rows=rows.outcome_rows(batch, ids))


def _class_labels(batch: ClassLabelBatch, ids: Ints, turn: str) -> Write:
    return Write(turn=turn, rows=classes.label_rows(batch, ids), answers=classes.LABEL_ANSWERS)


def _class_predictions(batch: ClassPredictionBatch, ids: Ints, turn: str) -> Write:
    found = classes.prediction_rows(batch, ids)
    return Write(turn=turn, rows=found, answers=classes.PREDICTION_ANSWERS)


def _verdicts(turn: str, told: Sequence[Skill]) -> Write:
    return Write(turn=turn, rows=rows.skill_rows(told), answers=rows.SKILL_ANSWERS, guard="true")
