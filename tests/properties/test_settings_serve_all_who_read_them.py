"""Whatever stands in the settings is refused in one line, or serves everybody who reads them."""

from __future__ import annotations

import logging
import tomllib
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import orjson
import pytest
from hypothesis import HealthCheck, example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydantic import BaseModel, SecretStr
from yarl import URL

from backend import settings
from backend.agreed import fingerprint
from backend.api.server import listen
from backend.api.tls import certificate
from backend.asked import web_sources
from backend.brokers import bus_of, refuse_without_kafka
from backend.learning.plan import LearningPlan
from backend.logs import JsonFormatter
from backend.setting_tables import held_by
from backend.settings import Settings
from backend.settings_file import annotated, in_force
from backend.store.state import StateFolder
from backend.symbols import refuse_strangers
from backend.wiring import decided_by, labels_of, online_of, policy_of, terms_of
from domain.errors import AlphaPulseError, UsageError
from domain.market import Timeframe
from tests.doubles import ManualClock

FURTHEST = datetime(2200, 1, 1, tzinfo=UTC)  # that a clock may say here
Where = tuple[tuple[str, ...], bool]  # of tables and itself; among several?
LINE = 1_000  # letters that are a line

TEXTS = st.one_of(
    st.sampled_from((
        "", " ", "LOUD", "\0", "BTC/USDT\0", "a\nb", "\x1b[31m", "\x85", "\udcff", "☃", "..", "/",
        "x" * 300, "x/" * 2_000, "-1", "0", "1e400", "nan", "9" * 5_000, "[", "{}", "[]", "*",
        "a:b:c", "http://", "https://[", "https://a..b", "https://h:99999", "https://h:0",
        "http://a b/", "http://" + "x" * 300, "ws://h", "wss://[::1]:9", "kafka://h:9092", "kafka://h:99999999",
        "h:9092", "[::1]:9092", "a..b", "x" * 70, "1m", "1m,1m", "1d", "4,4", "info", "fe80::1%1",
        "binance", "kraken:BTC/USD", "lightgbm.direction", "regime", "postgresql://u:secret@h/d",
        "sqlite:///x", "tgram://t/1", "thresholds", "profit", "signal.opened", "source.down",
        "mine", "lightgbm", "http://127.0.0.1:9000", "https://proxy.example/x", "wss://h.example:443",
    )),
    st.text(max_size=20),
)  # fmt: skip
NUMBERS = st.one_of(
    st.sampled_from((0, -1, 1, 2**15, 2**31, 2**63, 10**30, 10**7, 10**6, 36_500, 10**9)),
    st.sampled_from((0.0, -0.0, 5e-324, 0.5, 1e4, 1e308, float("inf"), float("nan"))),
    st.booleans(),
)
SCALARS = TEXTS | NUMBERS
ANYTHING = st.one_of(
    SCALARS, st.lists(SCALARS, max_size=3), st.dictionaries(TEXTS, SCALARS, max_size=2)
)


def fitting(kind: Any) -> st.SearchStrategy[Any]:
    """Values of the shape that an annotation asks for."""
    origin, of = get_origin(kind), get_args(kind)
    shapes: dict[Any, Callable[[], st.SearchStrategy[Any]]] = {
        Annotated: lambda: fitting(of[0]),
        Literal: lambda: st.sampled_from(of),
        tuple: lambda: st.lists(fitting(of[0]), max_size=3),
        dict: lambda: st.dictionaries(TEXTS, fitting(of[1]), max_size=2),
        Mapping: lambda: st.dictionaries(TEXTS, fitting(of[1]), max_size=2),
        UnionType: lambda: st.one_of([fitting(one) for one in of if one is not type(None)]),
        Union: lambda: st.one_of([fitting(one) for one in of if one is not type(None)]),
        Timeframe: lambda: st.sampled_from([one.value for one in Timeframe]),
        bool: st.booleans,
        int: lambda: NUMBERS | st.integers(1, 10**7),
        float: lambda: NUMBERS | st.floats(0, 1),
    }
    return shapes.get(origin or kind, lambda: TEXTS)()


def places(group: type[BaseModel], *path: str) -> Iterator[tuple[Where, Any]]:
    """Each setting that is no table, by where it stands, and the kind of its values."""
    for name, field in group.model_fields.items():
        within = held_by(field)
        if within is None or not issubclass(within, BaseModel):
            yield ((*path, name), False), field.annotation
        elif get_origin(field.annotation) is dict:
            yield from places(within, *path, name, "mine")
        elif get_origin(field.annotation) is tuple:
            several = places(within, *path, name)
            yield from (((where, True), kind) for (where, _), kind in several)
        else:
            yield from places(within, *path, name)


KINDS = dict(places(Settings))


@st.composite
def some_settings(draw: st.DrawFn) -> dict[Where, Any]:
    """Values for a few of them, of which most have the right shape."""
    chosen = draw(st.lists(st.sampled_from(sorted(KINDS)), min_size=1, max_size=3, unique=True))
    shapes = [fitting(KINDS[where]) if draw(st.integers(0, 4)) else ANYTHING for where in chosen]
    return {where: draw(shape) for where, shape in zip(chosen, shapes, strict=True)}


SOUND: dict[tuple[str, ...], dict[str, Any]] = {  # what a table needs beside what is tried in it
    ("notify",): {"channels": {"mine": {"apprise": "tgram://t/1"}}},
    ("notify", "rules"): {"events": ["signal.opened"], "channels": ["mine"]},
    ("sources", "reddit"): {"client_id": "i", "client_secret": "s", "username": "u"},
    ("training", "variants", "mine"): {"kind": "lightgbm", "trials": 2, "direction": {}},
}


def given_as(chosen: dict[Where, Any]) -> dict[str, Any]:
    """These values as a settings file has them."""
    document: dict[str, Any] = {}
    for (path, several), value in chosen.items():
        *tables, name = path
        table = document
        for depth, one in enumerate(tables, 1):
            sound = SOUND.get(tuple(tables[:depth]), {})
            if several and depth == len(tables):
                table = table.setdefault(one, [deepcopy(sound)])[0]
            else:
                table = table.setdefault(one, deepcopy(sound))
        table[name] = value
    return document


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def at(*path: str, value: object) -> dict[Where, Any]:
    return {(path, False): value}


@given(some_settings())
@example(at("log_level", value="LOUD"))
@example(at("state", value="a\0b"))
@example(at("state", value="x" * 300))
@example(at("state", value="x/" * 2_000))
@example(at("watch", "symbols", value=["BTC/USDT\0"]))
@example(at("watch", "symbols", value=["\udcff"]))
@example(at("host", value="a..b"))
@example(at("exchange", "mine", "rest_url", value="nonsense"))
@example(at("sources", "feeds", value={"mine": "https://["}))
@example(at("kafka", "brokers", value=["h:99999999"]))
@example(at("kafka", "replication", value=2**31))
@example(at("training", "delay_bars", value=10**30))
@example(at("training", "trees", value=2**63))
@example(at("signals", "cost_bps", value=1e308))
@example(at("watch", "horizons", value=[4, 4]))
@example(at("history_bars", value=10**7) | at("watch", "timeframes", value=["1d"]))
@example(at("training", "every_bars", value=10**7) | at("watch", "timeframes", value=["1d"]))
@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=400)
def test_they_are_refused_in_one_line_or_serve_all_who_read_them(
    chosen: dict[Where, Any],
) -> None:
    try:
        found = settings.load(given_as(chosen))
    except UsageError as error:
        said = [str(error)]
    else:
        said = [line for read in READERS if (line := refusal(read, found)) is not None]
    for line in said:
        assert 0 < len(line) < LINE
        assert not any(unicodedata.category(char) in {"Cc", "Cs"} for char in line)


def refusal(read: Callable[[Settings], None], found: Settings) -> str | None:
    """What it says that it cannot do, in an error of ours."""
    try:
        read(found)
    except AlphaPulseError as error:
        return str(error)
    return None


def read_log_level(found: Settings) -> None:
    assert isinstance(logging.getLevelName(found.log_level), int)


def read_texts(found: Settings) -> None:
    """All of them can be logged, kept as JSON, and written to a file that is read again."""
    values = list(in_force(found))
    orjson.dumps(values)
    record = logging.makeLogRecord({"msg": "settings", "said": values})
    orjson.loads(JsonFormatter().format(record))
    tomllib.loads(annotated(found.model_dump(mode="json", exclude_none=True)))
    fingerprint(found)


def read_paths(found: Settings) -> None:
    folder = StateFolder(found.state)
    folder.attach()
    for one in (found.capture.folder, found.api.tls_cert, found.api.tls_key, found.kafka.ca):
        if one is not None:
            (one / "binance" / ("x" * 200)).exists()
    (folder.path / "artifacts" / ("x" * 64) / "model.txt").exists()
    assert found.plugins.state == found.state.absolute()
    certificate(found.api.tls_cert, found.api.tls_key)


def read_addresses(found: Settings) -> None:
    listen(found.host, 0).close()


def read_brokers(found: Settings) -> None:
    refuse_without_kafka(found)
    for about in (found.kafka, bus_of(found)):
        for broker in about.brokers if about else ():
            name, _, number = broker.rpartition(":")
            assert name
            assert 0 < int(number) < 2**16


def read_web(found: Settings) -> None:
    """Addresses, as those who ask them take them apart."""
    told = [one.url for one in found.notify.channels.values()]
    addresses = [one.get_secret_value() for one in told if one] + [*found.sources.feeds.values()]
    for where in found.exchange.values():
        addresses += [one for one in (where.rest_url, where.ws_url) if one is not None]
    for each in addresses:
        assert URL(each).host
        assert URL(each).port
    session: Any = None  # nobody is asked
    web_sources(found.sources, session, ManualClock(), [])
    refuse_strangers(found.watch.symbols, found.watch.exchanges)


def read_rooms(found: Settings) -> None:
    """Amounts, as those who reckon with them do."""
    policy_of(found)
    for exchange in (*found.watch.exchanges, "binance"):
        assert 0 <= terms_of(found, exchange).fee_bps <= 1_000
    assert 0 <= policy_of(found).cost_bps / 10_000 <= 1
    for one in found.watch.timeframes:
        first = FURTHEST - found.history_bars * one.duration
        plan = LearningPlan.of(found.training, one, seed=7, plugins=found.plugins, live=True)
        assert plan.delay is not None
        moments = [FURTHEST + plan.every, FURTHEST + plan.delay, FURTHEST + plan.examine_every]
        moments += [FURTHEST + steps * one.duration for steps in found.watch.horizons]
        assert first < min(moments)
    assert len(set(found.watch.horizons)) == len(found.watch.horizons)
    for days in (*found.retention.drops.values(), found.notify.keep_days):
        assert FURTHEST - timedelta(days=days) < FURTHEST
    assert FURTHEST - timedelta(hours=found.sources.social_text_hours) < FURTHEST
    assert FURTHEST + timedelta(milliseconds=found.deadline_ms) > FURTHEST
    for rule in found.notify.rules:
        rule.rule()


def read_models(found: Settings) -> None:
    decided_by(found)
    labels_of(found)
    online_of(found)
    for one in found.training.variants.values():
        assert one.trials < 2**31
        for target in ("direction", "volatility", "quantiles"):
            one.of(target)


def read_secrets(found: Settings) -> None:
    """No secret is shown."""
    assert all(not isinstance(value, SecretStr) for _, value, _ in in_force(found))


READERS = (
    read_log_level,
    read_texts,
    read_paths,
    read_addresses,
    read_brokers,
    read_web,
    read_rooms,
    read_models,
    read_secrets,
)


def test_no_setting_is_left_out() -> None:
    named = {".".join(path) for path, _ in KINDS}

    assert {"log_level", "state", "watch.symbols", "notify.rules.events"} <= named
    assert {"exchange.mine.rest_url", "training.variants.mine.trials", "kafka.ca"} <= named
