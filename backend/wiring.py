"""The composition root: which adapters stand behind the ports."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TypeVar

import asyncpg

from backend.brokers import bus_of
from backend.bus.memory import MemoryBus
from backend.clock import SystemClock
from backend.feature_sets import WITH_SENTIMENT, candle_sets, fitted_on
from backend.plugins import PluginError, catalogue_of, labels_named, plugins, policy_named
from backend.settings import Settings, UnknownModelError
from backend.store import candle_sets as candle_set_store
from backend.store import database, migrate
from backend.store.collected import CollectedCandles
from backend.store.embedded import EmbeddedPostgres
from backend.store.features import register_feature_set
from backend.store.gaps import GapLedger
from backend.store.history import History
from backend.store.instruments import Instruments
from backend.store.recorder import Recorder
from backend.store.registry import Registry
from backend.store.runs import Runs
from backend.store.sources import SourceStore
from backend.store.state import StateFolder
from collectors.pacing import Pace
from domain.account import Terms
from domain.classes import LabelKind
from domain.errors import StoreUnavailableError, UsageError
from domain.ports import EventBus
from services.features import feature_set as candle_features
from services.features.kinds import RELEASE, CandleSet
from services.models.artifacts import ArtifactStore
from services.models.catalogue import BUILT_IN, Catalogue
from services.models.kinds import OnlineKind
from services.sentiment import feature_set as sentiment_features
from services.sentiment.feature_set import COLUMNS as SENTIMENT_COLUMNS
from services.sentiment.feature_set import SENTIMENT, with_sentiment
from services.signals.kinds import PolicyKind
from services.signals.policy import PolicySettings

log = logging.getLogger(__name__)

T = TypeVar("T")

LOOK_EVERY_S = 0.5  # wall seconds, whether the embedded server still runs


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """Everything that reads and writes the record."""

    url: str
    writers: asyncpg.Pool
    readers: asyncpg.Pool
    instruments: Instruments
    recorder: Recorder
    history: History
    collected: CollectedCandles
    registry: Registry
    runs: Runs
    ledger: GapLedger
    sources: SourceStore
    artifacts: ArtifactStore


@asynccontextmanager
async def open_store(
    url: str,
    artifacts: Path,
    catalogue: Catalogue = BUILT_IN,
    *,
    durable: bool = True,
    waits: bool = False,
) -> AsyncIterator[Store]:
    """Bring the database to the newest schema and connect to it.

    Args:
        url: of the database.
        artifacts: folder of the models' files.
        catalogue: the kinds of model that may be opened from them.
        durable: whether a commit waits for the disk; only a replay may say no.
        waits: while the database is away; who looks after it knows whether it comes back.

    Raises:
        StoreUnavailableError: it cannot be reached, or takes no writes.
    """
    settings = {} if durable else {"synchronous_commit": "off"}
    connect = partial(database.connect_pool, url)
    had = _patiently if waits else _at_once
    await had(partial(asyncio.to_thread, migrate.upgrade, url))
    async with AsyncExitStack() as stack:
        writers = await had(partial(connect, settings=settings))
        stack.push_async_callback(writers.close)
        readers = await had(partial(connect, size=database.READERS, read_only=True))
        stack.push_async_callback(readers.close)
        instruments = Instruments(writers)
        history = History(readers, instruments)
        with database.reachable(url):
            await had(partial(_register, writers))
        yield Store(
            url=url,
            writers=writers,
            readers=readers,
            instruments=instruments,
            recorder=Recorder(writers, instruments),
            history=history,
            collected=CollectedCandles(history),
            registry=Registry(writers),
            runs=Runs(writers),
            ledger=GapLedger(writers, instruments),
            sources=SourceStore(writers, instruments),
            artifacts=ArtifactStore(artifacts, catalogue),
        )


async def _at_once(work: Callable[[], Awaitable[T]]) -> T:
    return await work()


async def _patiently(work: Callable[[], Awaitable[T]]) -> T:
    """As long as the database is away; what it refuses it will refuse again."""

    async def attempt() -> T | StoreUnavailableError:
        try:
            return await work()
        except StoreUnavailableError as error:
            if isinstance(error.__cause__, database.CONNECTION_ERRORS):
                raise
            return error

    done = await database.patiently(attempt, SystemClock())
    if isinstance(done, StoreUnavailableError):
        raise done
    return done


async def _register(pool: asyncpg.Pool) -> None:
    """The feature sets of this release."""
    code = {
        feature_set: sources_sha256(Path(module.__file__ or "").parent)
        for feature_set, module in (
            (RELEASE.feature_set, candle_features),
            (SENTIMENT, sentiment_features),
        )
    }
    told = {column.name: column.formula for column in SENTIMENT_COLUMNS}
    for feature_set, spec in ((RELEASE.feature_set, RELEASE.formulas), (SENTIMENT, told)):
        await register_feature_set(pool, feature_set, spec=spec, code_sha=code[feature_set])
    parts = {"parts": [one.id for one in code]}
    await register_feature_set(pool, WITH_SENTIMENT, spec=parts, code_sha="+".join(code.values()))


async def sets_of(pool: asyncpg.Pool, settings: Settings, now: datetime) -> tuple[CandleSet, ...]:
    """What candles are made into: the set that all learn from, then the candidate.

    That of the release ends once members read the candidate, and none reads it any more.

    Raises:
        UsageError: it was retired, and settings name no other.
        UnknownPluginError, PluginError: there is no such candidate, or who learns cannot read it.
        StoreError: it is registered with other columns or formulas.
    """
    sets = readable_sets(settings)
    gone = await candle_set_store.retired(pool)
    for one in sets[1:]:
        providers = catalogue_of(settings.plugins).providers
        code = providers.get(one.kind.name, {}) if one.kind else {}
        code_sha = "+".join(f"{name} {version}" for name, version in code.items())
        await register_candle_set(pool, one, code_sha=code_sha)
        if RELEASE.id not in gone and await _has_won(pool, one):
            log.info("%s has no member any more: it is retired", RELEASE.id)
            gone[RELEASE.id] = now
            await candle_set_store.retire(pool, RELEASE.id, at=now)
    made = tuple(one for one in sets if one.id not in gone)
    if not made:
        after = await candle_set_store.beside(pool, RELEASE.id)
        named = " or ".join(_plugin_words(*one, settings.state) for one in after.items())
        raise UsageError(
            f"{RELEASE.id} was retired on {gone[RELEASE.id]:%Y-%m-%d}: name the set that took its"
            f" place, {named or 'training.candidate'}"
        )
    return made


def _plugin_words(feature_set: str, code_sha: str, state: Path) -> str:
    """A set, and by which name settings have the plug-in that makes it."""
    provider = code_sha.rpartition(" ")[0]
    of_it = [one for one in plugins(state).values() if one.provider == provider]
    names = [one.name for one in of_it if one.group in {"", "alphapulse.candles"}]
    value = " or ".join(names) or f"its plug-in, which was of {provider}"
    return f"{feature_set}: training.candidate = {value}"


async def _has_won(pool: asyncpg.Pool, candidate: CandleSet) -> bool:
    """Whether members read the candidate, and none the set of the release."""
    ours = await candle_set_store.readers(pool, fitted_on(RELEASE))
    return not ours and bool(await candle_set_store.readers(pool, fitted_on(candidate)))


async def register_candle_set(pool: asyncpg.Pool, of: CandleSet, *, code_sha: str) -> None:
    """Enter a set that is beside the release's, and what is fitted on it where sources tell.

    Raises:
        StoreError: it is registered with other columns or formulas.
    """
    await register_feature_set(
        pool, of.feature_set, spec=of.formulas, code_sha=code_sha, fixed=True
    )
    parts = {"parts": [of.id, SENTIMENT.id]}
    both = with_sentiment(of.feature_set)
    await register_feature_set(pool, both, spec=parts, code_sha=code_sha)


def readable_sets(settings: Settings) -> tuple[CandleSet, ...]:
    """See that those who learn from the rows of every set find their columns; the sets.

    Raises:
        UnknownPluginError, PluginError: there is no such candidate, or one does not.
    """
    sets = candle_sets(settings.training.candidate, settings.plugins)
    for one in sets[1:]:
        _refuse(one, settings)
    return sets


def _refuse(of: CandleSet, settings: Settings) -> None:
    there = {*of.feature_set.columns, *SENTIMENT.columns}
    wanted = {name: kind.columns for name, kind in online_of(settings).items()}
    named = settings.training.all_features
    derived = [one for one in catalogue_of(settings.plugins).features if one.name in named]
    wanted |= {one.name: one.reads for one in derived}
    for name, columns in wanted.items():
        if lacking := [column for column in columns if column not in there]:
            raise PluginError(f"{of.id} leaves out {lacking[0]}, which {name} reads")


@asynccontextmanager
async def database_of(
    settings: Settings, watch: asyncio.TaskGroup | None = None
) -> AsyncIterator[str]:
    """The URL of the database in force: the operator's, a running system's, or our own.

    An embedded server that is started here ends with the context.

    Args:
        settings: that name it.
        watch: where a task starts our own server again when it ends by itself; the group
            ends with StoreUnavailableError when that fails. None: for a short while only.
    """
    folder = StateFolder(settings.state)
    if settings.database_url is not None:
        yield settings.database_url.get_secret_value()
        return
    runtime = folder.attach()
    if runtime is not None:
        yield runtime.database_url
        return
    folder.open()
    server = EmbeddedPostgres(folder.path)
    url = await asyncio.to_thread(server.start)
    keeping = watch.create_task(_keep_up(server)) if watch else None
    try:
        yield url
    finally:
        if keeping is not None:
            keeping.cancel()
        await asyncio.to_thread(server.stop)


async def _keep_up(server: EmbeddedPostgres) -> None:
    while True:
        await asyncio.sleep(LOOK_EVERY_S)
        await _patiently(partial(asyncio.to_thread, server.keep_up))


@asynccontextmanager
async def open_bus(settings: Settings, pace: Pace) -> AsyncIterator[EventBus]:
    """The road between collectors and panels.

    Args:
        settings: that name it.
        pace: the system's clocks.

    Raises:
        UsageError: the address names no bus.
    """
    about = bus_of(settings)
    if about is None:
        yield MemoryBus()
        return
    from backend.bus.kafka import kafka_bus  # noqa: PLC0415 - an extra

    async with kafka_bus(about, pace) as bus:
        yield bus


def sources_sha256(folder: Path) -> str:
    """Identity of the code in a folder."""
    digest = hashlib.sha256()
    for source in sorted(folder.glob("*.py")):
        digest.update(source.name.encode() + b"\0" + source.read_bytes() + b"\0")
    return digest.hexdigest()


def online_of(settings: Settings) -> dict[str, OnlineKind]:
    """The kinds that learn with each label, by the names of their models.

    Raises:
        UnknownModelError: a plug-in is there, and has no such model.
    """
    learners = catalogue_of(settings.plugins).learners
    for name in settings.training.online:
        if name not in learners:
            raise UnknownModelError(name, learners)
    return {name: learners[name] for name in settings.training.online}


def policy_of(settings: Settings) -> PolicySettings:
    """What the operator set of the signal policy."""
    return PolicySettings(**settings.signals.model_dump(exclude={"policy"}))


def decided_by(settings: Settings) -> PolicyKind:
    """The signal policy that the operator chose.

    Raises:
        PluginError: a plug-in of that name is none.
    """
    return policy_named(settings.signals.policy, settings.plugins)


def labels_of(settings: Settings) -> tuple[LabelKind, ...]:
    """The kinds of class label that the operator switched on.

    Raises:
        PluginError: a plug-in of such a name is none.
    """
    return labels_named(settings.training.labels, settings.plugins)


def terms_of(settings: Settings, exchange: str) -> Terms:
    """The terms of the paper account at an exchange."""
    ledger = settings.ledger
    stated = ledger.model_dump(exclude={"fees", "fee_bps"})
    return Terms(**stated, fee_bps=ledger.fees.get(exchange, ledger.fee_bps))
