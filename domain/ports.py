"""The sockets that adapters plug into: clock, exchange, source, channel, bus, model, executor."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager
from datetime import datetime, timedelta
from typing import Any, Protocol, TypeVar, runtime_checkable

from domain.events import Candle, Examples, FeatureBatch, Floats, Target
from domain.market import Instrument, Listing, Timeframe
from domain.notifications import Notification
from domain.past import Past
from domain.sources import Answer
from domain.topics import OfPanel, Topic
from domain.trades import Trade, TradesTold

T = TypeVar("T")


class Clock(Protocol):
    """Where time comes from; nothing reads the machine's clock but an adapter of this."""

    def now(self) -> datetime:
        """The present moment, UTC-aware."""
        ...

    async def sleep(self, duration: timedelta) -> None: ...


class Exchange(Protocol):
    """One exchange. REST is the authority, the socket the early hint."""

    @property
    def id(self) -> str:
        """The exchange's name on every row (`binance`, `simulated`)."""
        ...

    async def listings(self, symbols: Sequence[str]) -> list[Listing]:
        """What is listed under `symbols`, in their order.

        Raises:
            UnknownSymbolError: one of them is not listed.
            ExchangeUnavailableError: no answer.
        """
        ...

    async def fetch_candles(
        self, instrument: Instrument, timeframe: Timeframe, *, since: datetime, until: datetime
    ) -> list[Candle]:
        """All closed candles with since ≤ open time < until, oldest first, pages joined.

        A candle the exchange does not have is absent. Every one is `confirmed`.

        Raises:
            RateLimitedError: wait `retry_after`.
            ExchangeUnavailableError: no answer.
        """
        ...

    def streams(self, timeframe: Timeframe) -> bool:
        """Whether `watch_candles` tells candles of `timeframe`; others have to be asked for."""
        ...

    def flags_closes(self, timeframe: Timeframe) -> bool:
        """Whether `watch_candles` says of each candle of `timeframe` when it is closed."""
        ...

    def watch_candles(
        self, instruments: Sequence[Instrument], timeframes: Sequence[Timeframe]
    ) -> AsyncIterator[Candle]:
        """Candle versions as they come, forming ones (`closed=False`) included.

        Ends by raising ExchangeUnavailableError when the connection is lost.
        """
        ...

    async def fetch_time(self) -> datetime:
        """The exchange's own clock."""
        ...

    async def close(self) -> None: ...


class TradedExchange(Exchange, Protocol):
    """An exchange that tells its trades, and which candles it does not make of them itself."""

    def fetches(self, timeframe: Timeframe) -> bool:
        """Whether `fetch_candles` has candles of `timeframe`."""
        ...

    async def fetch_trades(
        self, instrument: Instrument, *, since: datetime, until: datetime
    ) -> TradesTold:
        """The trades with since ≤ time < until, as far as the exchange tells them.

        Raises:
            RateLimitedError: wait `retry_after`.
            ExchangeUnavailableError: no answer.
        """
        ...

    def watch_trades(self, instruments: Sequence[Instrument]) -> AsyncIterator[Trade]:
        """Trades as they come, each once as long as the connection is whole.

        Ends by raising ExchangeUnavailableError when the connection is lost.
        """
        ...


class Source(Protocol):
    """Texts or measurements from one place. It never makes up a value."""

    @property
    def name(self) -> str:
        """On each of its items (`coindesk`)."""
        ...

    @property
    def every(self) -> timedelta:
        """How often there may be something new."""
        ...

    @property
    def stale_after(self) -> timedelta:
        """The age from which its newest fact is too old to speak of a source that works."""
        ...

    async def poll(self) -> Answer:
        """What it tells now, items told before included; waits as long as politeness asks.

        Raises:
            SourceUnavailableError: no answer.
        """
        ...

    async def close(self) -> None: ...


class Channel(Protocol):
    """A way to somebody outside. What it raises and logs never holds its address or its secrets."""

    async def send(self, notification: Notification) -> None:
        """Hand it over, within a bounded time; who returns has been told that it was taken.

        Raises:
            UndeliveredError: it was not, or nobody knows; the same may be sent again.
            ChannelGoneError: it was not, and no other will be.
        """
        ...

    async def close(self) -> None: ...


class EventBus(Protocol):
    """The road between rooms; the store stays the truth.

    Delivery is at least once and in order per key. Asking for the next event acknowledges
    the one before. A publisher waits until its event is taken: nothing is dropped.
    """

    @property
    def cluster(self) -> str:
        """Id of what carries the events; empty: this process does, or it has yet to answer."""
        ...

    async def publish(self, topic: Topic, event: OfPanel) -> None: ...

    def subscribe(
        self, *topics: Topic, group: str, key: str | None = None
    ) -> AbstractAsyncContextManager[AsyncIterator[object]]:
        """Events of `topics` from now on; each `group` receives every event.

        Args:
            topics: whose events.
            group: a name of one subscriber at a time; it goes on behind what it acknowledged
                where the bus keeps events.
            key: only events of this panel (`panel_of`); None: of all.
        """
        ...


class Model(Protocol):
    """A forecaster of one target at one (timeframe, horizon), for all instruments at once.

    `predict` is pure: it changes nothing in the model.
    """

    @property
    def name(self) -> str:
        """Kind and target: `lightgbm.direction`."""
        ...

    @property
    def version(self) -> str: ...

    @property
    def target(self) -> Target: ...

    def predict(self, features: FeatureBatch) -> Floats:
        """Forecast each row; one it cannot judge is NaN.

        Returns:
            Direction: (n, 3) probabilities of down, flat, up. Volatility: (n,) standard
            deviation of the log return over the horizon. Quantiles: (n, 3) of the log return.
        """
        ...


@runtime_checkable
class Referenced(Protocol):
    """What a model has beside the rest that can say how far rows are from its training rows."""

    @property
    def reference(self) -> object | None:
        """What it measures from, the same object for the same training rows; None: it cannot."""
        ...

    def dissimilarity(self, features: FeatureBatch) -> Floats:
        """Distance of each row, shape (n,): 1 is that of training rows (their mean square).

        NaN where nothing of a row is known.
        """
        ...


@runtime_checkable
class OfCandles(Protocol):
    """What a model has beside the rest that may read another candle feature set than the base."""

    @property
    def candles(self) -> str:
        """Its id, `ohlcv@2`; empty: that of the release, or of the base where it learns."""
        ...


@runtime_checkable
class Sequential(Protocol):
    """What a model has beside the rest that may read the candles before a row."""

    @property
    def past(self) -> int:
        """How many of them; 0: none, and it is asked by `predict`."""
        ...

    def predict_after(self, features: FeatureBatch, past: Past) -> Floats:
        """`predict` with what was before each row; a row that is not known is a hole in it."""
        ...


class Learner(Model, Protocol):
    """A model that learns as labels become known; its state is part of the record."""

    def learn(self, examples: Examples) -> None:
        """Learn each example once, in the order given."""
        ...

    def snapshot(self) -> bytes: ...

    def restore(self, state: bytes) -> None:
        """Continue exactly from `snapshot`'s state."""
        ...


class Executor(Protocol):
    """Runs CPU work outside the event loop's process."""

    def submit(self, work: Callable[..., T], *arguments: Any) -> Future[T]: ...  # noqa: ANN401 - the work's own arguments

    def close(self) -> None: ...
