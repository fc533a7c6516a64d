"""The few figures that an operator watches, in a registry of our own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from domain.events import CandleBatch, PredictionBatch, Role

REGISTRY: Final = CollectorRegistry(auto_describe=True)
ProcessCollector(registry=REGISTRY)  # memory, processor time and open files of this process

CANDLES_RECEIVED = Counter(
    "alphapulse_candles_received", "Closed candles kept", ["exchange"], registry=REGISTRY
)
CANDLES_QUARANTINED = Counter(
    "alphapulse_candles_quarantined", "Candles that cannot be, set aside", ["reason"],
    registry=REGISTRY,
)  # fmt: skip
ANSWERS_REFUSED = Counter(
    "alphapulse_answers_refused", "Answers of sources, or rows of them, that cannot be read",
    ["source"], registry=REGISTRY,
)  # fmt: skip
FACTS_KEPT = Counter(
    "alphapulse_source_facts_kept", "Texts and measurements of sources that were news", ["kind"],
    registry=REGISTRY,
)  # fmt: skip
PREDICTIONS_MADE = Counter(
    "alphapulse_predictions_made", "Served predictions committed", ["timeframe"], registry=REGISTRY
)
STAGE_SECONDS = Histogram(
    "alphapulse_stage_seconds",
    "Wall time of one stage, or of a commit, for one tick",
    ["stage"],
    buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5),
    registry=REGISTRY,
)
SOCKETS_CLOSED = Counter(
    "alphapulse_sockets_closed", "Connections ended by the server, by code", ["code"],
    registry=REGISTRY,
)  # fmt: skip

NOTIFICATIONS_SENT = Counter(
    "alphapulse_notifications_sent", "Notifications that a channel took", ["channel"],
    registry=REGISTRY,
)  # fmt: skip
NOTIFICATION_FAILURES = Counter(
    "alphapulse_notification_failures", "Tries at which a channel took none", ["channel"],
    registry=REGISTRY,
)  # fmt: skip
EVENTS_RELAYED = Counter(
    "alphapulse_events_relayed", "Events of the stream log that a broker took", registry=REGISTRY
)
DEAD_LETTERS = Counter(
    "alphapulse_dead_letters", "Records of a broker that could not be taken in", registry=REGISTRY
)
BLOCKS_BEHIND = Gauge(
    "alphapulse_relay_behind_blocks", "Blocks of the stream log that no broker has taken yet",
    registry=REGISTRY,
)  # fmt: skip


def count_tick(candles: CandleBatch, events: Sequence[object] = ()) -> None:
    """Count what a tick has committed: its candles, and the served rows among `events`."""
    CANDLES_RECEIVED.labels(candles.exchange).inc(len(candles))
    for event in events:
        if isinstance(event, PredictionBatch) and event.role is Role.CHAMPION:
            PREDICTIONS_MADE.labels(event.timeframe.value).inc(len(event))


def time_stages(microseconds: Mapping[str, int]) -> None:
    """Note what a chain of stages took for one tick, by stage."""
    for stage, spent in microseconds.items():
        STAGE_SECONDS.labels(stage).observe(spent / 1e6)


class GaugeReading(Collector):
    """A gauge that is read when it is asked for, so it cannot be out of date.

    Args:
        name: of the metric.
        documentation: one line.
        labels: names of its labels.
        read: label values and the value, for each series.
    """

    def __init__(
        self,
        name: str,
        documentation: str,
        labels: tuple[str, ...],
        read: Callable[[], Iterable[tuple[tuple[str, ...], float]]],
    ) -> None:
        self._name = name
        self._documentation = documentation
        self._labels = labels
        self._read = read

    def collect(self) -> Iterable[Metric]:
        family = GaugeMetricFamily(self._name, self._documentation, labels=self._labels)
        for values, value in self._read():
            family.add_metric(values, value)
        yield family
