"""The whole data path on one page: topic → what travels → its key → who owns the state behind it.

On a broker a topic is `alphapulse.<name>.v1`, one per type and never per symbol.
Per-instrument state moves with `exchange|symbol|timeframe`; whatever looks across
instruments (the cross-section, predictions, learning) has one owner per `exchange|timeframe`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from domain import account, classes, events

SERIES: Final = "exchange|symbol|timeframe"
PANEL: Final = "exchange|timeframe"


@dataclass(frozen=True, slots=True)
class Topic:
    """A named road for one type of event."""

    name: str
    event: type
    key: str  # of the messages on a broker
    owner: str  # what one worker must hold alone to produce it

    @property
    def wire_name(self) -> str:
        return f"alphapulse.{self.name}.v1"


CANDLES = Topic("candles.closed", events.CandleBatch, key=SERIES, owner=SERIES)
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
SIGNALS_LATEST: Final = "alphapulse.signals.latest.v1"

TOPICS: Final = (
    *(CANDLES, FEATURES, SENTIMENT, PREDICTIONS, SIGNALS, LABELS, SCORES, SKILL),
    *(FUNDING, LEDGER, CLASSES, CLASS_PREDICTIONS, MODELS),
)
