"""The whole data path on one page: topic → what travels → its key → who owns the state behind it.

On a broker a topic is `<prefix>.<name>.v1`, one per type and never per symbol.
Candles cross between processes as whole ticks, keyed by their panel (`exchange|timeframe`), whose
one owner looks across instruments: the cross-section, predictions, learning. What is published of
a series is keyed by `exchange|symbol|timeframe`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

from domain import account, classes, events
from domain.market import Timeframe

PREFIX: Final = "alphapulse"  # where settings name no other
SERIES: Final = "exchange|symbol|timeframe"
PANEL: Final = "exchange|timeframe"


class OfPanel(Protocol):
    """An event that belongs to one panel."""

    @property
    def exchange(self) -> str: ...

    @property
    def timeframe(self) -> Timeframe: ...


@dataclass(frozen=True, slots=True)
class Topic:
    """A named road for one type of event."""

    name: str
    event: type
    key: str  # of the messages on a broker
    owner: str  # what one worker must hold alone to produce it

    def wire_name(self, prefix: str = PREFIX) -> str:
        """On a broker; with the prefix of the release it also names the type of its events."""
        return f"{prefix}.{self.name}.v1"


CANDLES = Topic("candles.closed", events.CandleBatch, key=PANEL, owner=PANEL)
FEATURES = Topic("features.computed", events.FeatureBatch, key=SERIES, owner=PANEL)
SENTIMENT = Topic("sentiment.told", events.SentimentBatch, key=SERIES, owner=PANEL)
PREDICTIONS = Topic("predictions.made", events.PredictionBatch, key=SERIES, owner=PANEL)
SIGNALS = Topic("signals.changed", events.SignalBatch, key=SERIES, owner=PANEL)
LABELS = Topic("labels.known", events.LabelBatch, key=SERIES, owner=SERIES)
SCORES = Topic("predictions.scored", events.OutcomeBatch, key=SERIES, owner=PANEL)
SKILL = Topic("skill.judged", events.Skill, key=PANEL, owner=PANEL)
FUNDING = Topic("funding.due", account.FundingBatch, key=PANEL, owner=PANEL)
LEDGER = Topic("account.marked", account.AccountMark, key=PANEL, owner=PANEL)
CLASSES = Topic("classes.known", classes.ClassLabelBatch, key=SERIES, owner=PANEL)
CLASS_PREDICTIONS = Topic(
    "classes.predicted", classes.ClassPredictionBatch, key=SERIES, owner=PANEL
)
MODELS = Topic("models.changed", events.ModelEvent, key=PANEL, owner=PANEL)

# The newest event of each series and horizon, for those who come later; keyed by both.
SIGNALS_LATEST = Topic("signals.latest", events.SignalBatch, key=f"{SERIES}|horizon", owner=PANEL)


def panel_of(event: OfPanel) -> str:
    """The key of an event of a panel, spelt as `PANEL` says."""
    return panel_key(event.exchange, event.timeframe)


def panel_key(exchange: str, timeframe: Timeframe) -> str:
    """The key of a panel's events.

    >>> panel_key("binance", Timeframe.H1)
    'binance|1h'
    """
    return f"{exchange}|{timeframe}"
