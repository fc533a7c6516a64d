"""Aggregates and rows depend on what was known by a close, not on how it came."""

from __future__ import annotations

from dataclasses import astuple, replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from alphapulse_testing.panel import panel_batch
from domain.codec import pack, unpack
from domain.events import SentimentBatch
from domain.market import EPOCH, Instrument, from_ms
from domain.sources import MARKET, Measurement, Metric, SourceState, SourceStatus, TextItem
from services.sentiment.aggregate import AssetSentiment, aggregate
from services.sentiment.coded import CodedItems
from services.sentiment.features import SentimentFeatures
from services.sentiment.items import ScoredItems, joined
from services.sentiment.lexicon import Lexicon
from services.sentiment.reader import Reader
from tests.scored_items import HOUR, scored

ASSETS = ("BTC", "ETH", "SOL", "DOT", "ADA")
NONE = scored("none").take(np.array([], dtype=np.int64))
LEXICON = Lexicon()

ITEM = st.builds(
    scored,
    st.sampled_from("abcdefgh"),
    source=st.sampled_from(["news", "forum", "feed"]),
    asset=st.sampled_from(["", *ASSETS, "XRP"]),
    relevance=st.sampled_from([0.25, 0.5, 1.0]),
    cluster=st.sampled_from(["news:a", "forum:b", "feed:c"]),
    published_ms=st.integers(-60 * HOUR, 30 * HOUR),
    known_ms=st.integers(-50 * HOUR, 20 * HOUR),
    engagement=st.sampled_from([np.nan, 0.0, 3.0, 1e6]),
    polarity=st.one_of(st.just(np.nan), st.floats(-1, 1)),
    confidence=st.sampled_from([0.0, 0.3, 1.0]),
)
TABLE = st.lists(ITEM, min_size=1, max_size=30)


def same(one: AssetSentiment, other: AssetSentiment) -> bool:
    """Equal to the bit."""
    return all(
        np.array_equal(a, b, equal_nan=np.asarray(a).dtype.kind == "f")
        for a, b in zip(astuple(one), astuple(other), strict=True)
    )


@given(TABLE, st.data())
def test_order_duplication_and_batching_change_nothing(
    items: list[ScoredItems], data: st.DataObject
) -> None:
    again = data.draw(st.permutations(items + data.draw(st.lists(st.sampled_from(items)))))
    cut = data.draw(st.integers(0, len(again)))
    parts = [joined([NONE, *again[cut:]]), joined([NONE, *again[:cut]])]
    batches = CodedItems.joined([CodedItems.of(part) for part in parts])

    assert same(aggregate(batches, ASSETS, 0), aggregate(CodedItems.of(joined(items)), ASSETS, 0))


@given(TABLE, st.lists(ITEM), st.integers(-10 * HOUR, 10 * HOUR))
def test_what_becomes_known_later_changes_nothing(
    items: list[ScoredItems], more: list[ScoredItems], as_of_ms: int
) -> None:
    known = joined([NONE, *(one for one in items if one.known_ms[0] <= as_of_ms)])
    later = [one for one in more if one.known_ms[0] > as_of_ms]
    table, more_of_it = CodedItems.of(known), CodedItems.of(joined([known, *later]))

    assert same(aggregate(more_of_it, ASSETS, as_of_ms), aggregate(table, ASSETS, as_of_ms))


@given(TABLE)
def test_values_are_within_bounds_and_only_where_something_was_said(
    items: list[ScoredItems],
) -> None:
    said = aggregate(CodedItems.of(joined(items)), ASSETS, 0)

    assert np.array_equal(np.isfinite(said.value), said.count > 0)
    assert np.array_equal(np.isfinite(said.age_s), said.count > 0)
    assert np.isfinite(said.market) == (said.market_count > 0)
    known = said.value[said.count > 0]
    assert np.all((known >= -1 - 1e-12) & (known <= 1 + 1e-12))
    low, high = np.minimum(said.mean, said.market), np.maximum(said.mean, said.market)
    inside = (low - 1e-12 <= said.value) & (said.value <= high + 1e-12)
    assert inside[said.count > 0].all()


WORDS = ["bitcoin", "great", "crash", "ETH", "scam", "buy", "the", "is", "$DOT", "moon", "again"]
TEXT = st.lists(st.sampled_from(WORDS), max_size=7).map(" ".join)
ITEMS = st.lists(
    st.tuples(st.integers(0, 5), st.sampled_from("xy"), st.sampled_from("123456"), TEXT),
    max_size=14,
    unique_by=lambda item: item[:3],
)


def rows_of(reader: Reader, items: list[TextItem]) -> list[tuple[object, ...]]:
    columns = reader.on_texts(items).columns()
    return [tuple(str(v) for v in row) for row in zip(*columns.values(), strict=True)]


@given(ITEMS, st.data())
def test_a_reader_makes_the_same_rows_in_any_order_any_batches_and_after_a_restart(
    drawn: list[tuple[int, str, str, str]], data: st.DataObject
) -> None:
    items = [
        TextItem(source=source, item_id=item_id, published_ms=0, known_ms=known, title=title)
        for known, source, item_id, title in drawn
    ]
    whole = rows_of(Reader(LEXICON), items)

    shuffled, reader, said = data.draw(st.permutations(items)), Reader(LEXICON), []
    for known in range(6):  # batches come in the order in which they were known
        said += rows_of(reader, [item for item in shuffled if item.known_ms == known])
        state = unpack(pack(reader.snapshot()))
        reader = Reader(LEXICON)
        reader.restore(state)

    assert said == whole


INSTRUMENTS = (
    Instrument("binance", "BTC/USDT"),
    Instrument("binanceusdm", "BTC/USDT:USDT"),
    Instrument("binance", "ETH/USDT"),
)
MEASURED = st.builds(
    lambda instrument, metric, event, known, value: Measurement(
        instrument=MARKET if metric is Metric.FEAR_GREED else instrument,
        metric=metric,
        event_ms=min(event, known),
        known_ms=known,
        value=value,
    ),
    st.sampled_from(INSTRUMENTS),
    st.sampled_from([Metric.FEAR_GREED, Metric.FUNDING_RATE, Metric.OPEN_INTEREST]),
    st.integers(70, 125).map(lambda hour: hour * HOUR),
    st.integers(90, 125).map(lambda hour: hour * HOUR),
    st.floats(0.1, 10),
)
SOURCES = ("news", "forum", "fear_greed", "binance.funding_rate", "binance.open_interest")
CHANGE = st.tuples(
    st.sampled_from(SOURCES),
    st.sampled_from(SourceState),
    st.integers(90 * HOUR, 130 * HOUR),
)


def shifted(item: ScoredItems) -> ScoredItems:
    """The same after the first days, of which nothing is remembered."""
    days = 100 * HOUR
    return replace(item, known_ms=item.known_ms + days, published_ms=item.published_ms + days)


@settings(max_examples=40)
@given(
    st.lists(ITEM.map(shifted)),
    st.lists(MEASURED, unique_by=lambda one: (one.instrument, one.metric, one.event_ms)),
    st.lists(CHANGE, unique_by=lambda one: (one[0], one[2])),
    st.sampled_from([100 * HOUR, 115 * HOUR]),
    st.data(),
)
def test_a_close_is_of_what_was_known_by_it_in_whatever_order_it_came(
    items: list[ScoredItems],
    measured: list[Measurement],
    changes: list[tuple[str, SourceState, int]],
    close_ms: int,
    data: st.DataObject,
) -> None:
    def told(
        facts: list[ScoredItems | Measurement], states: list[tuple[str, SourceState, int]]
    ) -> SentimentBatch | None:
        features = SentimentFeatures(since=EPOCH)
        for fact in facts:
            if isinstance(fact, Measurement):
                features.on_measurements([fact])
            else:
                features.on_scored(fact)
        first = [(source, SourceState.OK, 60 * HOUR) for source in SOURCES]
        for source, state, known_ms in sorted([*first, *states], key=lambda one: one[2]):
            status = SourceStatus(source=source, state=state, since=EPOCH)
            features.on_statuses([status], from_ms(known_ms))
        values = np.zeros((len(INSTRUMENTS), 1))
        batch = panel_batch(values, instruments=INSTRUMENTS)
        return features.beside(replace(batch, as_of=from_ms(close_ms))).told

    facts: list[ScoredItems | Measurement] = [*items, *measured]
    by_then = [one for one in facts if int(np.max(one.known_ms)) <= close_ms]

    whole = told(data.draw(st.permutations(facts)), changes)
    then = told(by_then, [one for one in changes if one[2] <= close_ms])

    assert whole is not None
    assert then is not None
    assert np.array_equal(whole.values, then.values, equal_nan=True)
    assert whole.status == then.status
