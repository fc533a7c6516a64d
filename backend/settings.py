"""What an operator may change: flags, then ALPHAPULSE_* variables, then alphapulse.toml."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from backend.durations import names
from backend.reading import read_text
from backend.setting_tables import (
    ApiSettings,
    ExchangeSettings,
    Group,
    KafkaSettings,
    LedgerSettings,
    NotifySettings,
    RedditSettings,
    RetentionSettings,
    group_at,
    not_json,
)
from backend.setting_values import (
    Host,
    Hours,
    Many,
    Place,
    WebAddress,
    once,
    refuse_unwritable,
)
from backend.training_settings import TrainingSettings
from collectors.sources.feeds import FEEDS
from domain.errors import UnknownNameError, UsageError
from domain.market import FURTHEST, Timeframe

if TYPE_CHECKING:
    from backend.plugins import SwitchedOn

SETTINGS_FILE = Path("alphapulse.toml")
PREFIX = "ALPHAPULSE_"
REACH = timedelta(days=365 * 100)  # of history
NOT_SETTINGS = f"{PREFIX}TEST_"  # what the tests run against


class UnknownSettingError(UnknownNameError):
    """A name in the settings file or the environment that means nothing here."""

    noun = "setting"


class UnknownModelError(UnknownNameError):
    """A kind that nobody can fit."""

    noun = "model"


class UnknownFeedError(UnknownNameError):
    """A feed that has no address."""

    noun = "feed"


def _listed(value: object) -> object:
    """A flag or a variable lists names with commas."""
    return names(value) if isinstance(value, str) else value


def _shouted(value: object) -> object:
    return value.upper() if isinstance(value, str) else value


def _timeframes(value: object) -> object:
    listed = _listed(value)
    return [Timeframe.parse(str(one)) for one in listed] if isinstance(listed, list) else listed


Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_listed), AfterValidator(once)]


class WatchSettings(Group):
    """What `run` follows."""

    exchanges: Names = Field((), description="ids of ccxt, as binance or kraken")
    symbols: Names = Field(
        (), description="BTC/USDT on each exchange that lists it, kraken:BTC/USD on one"
    )
    timeframes: Annotated[
        tuple[Timeframe, ...],
        NoDecode,
        BeforeValidator(_timeframes),
        AfterValidator(once),
        Field(min_length=1),
    ] = Field((Timeframe.H1,), description="lengths of candles, 1m to 1d")
    horizons: Annotated[
        tuple[Annotated[int, Field(gt=0, le=FURTHEST)], ...],
        NoDecode,
        BeforeValidator(_listed),
        AfterValidator(once),
        Field(min_length=1),
    ] = Field((4,), description="how far ahead predictions are made, in candles")


class BuildSettings(Group):
    """Candles that are put together here, and checked with the exchange's."""

    from_trades: bool = Field(
        default=False, description="candles that an exchange does not stream or serve"
    )
    rolled_up: Annotated[tuple[Timeframe, ...], NoDecode, BeforeValidator(_timeframes)] = Field(
        (), description="timeframes made of the longest shorter one that is watched"
    )


class CaptureSettings(Group):
    """Raw frames of live exchanges, kept to be replayed."""

    on: bool = Field(default=False, description="write every frame that an exchange sends")
    folder: Place | None = Field(None, description="captures/ of the state folder where not set")
    maximum_mb: Many = Field(10_000, description="of all captures; the oldest are removed")


class SourceSettings(Group):
    """What is asked beside the exchanges: texts, and measurements of the market."""

    on: bool = Field(default=True, description="false: no source is asked")
    fear_greed: bool = Field(default=True, description="the index of alternative.me")
    derivatives: bool = Field(
        default=True, description="funding, open interest, long/short ratio, where told"
    )
    large_trades: bool = Field(
        default=False, description="who is in a hurry in large trades, from all trades as they come"
    )
    news: tuple[str, ...] = Field(tuple(FEEDS), description="feeds that are read")
    feeds: dict[str, WebAddress] = Field(
        default_factory=dict, description="addresses of further feeds"
    )
    plugins: tuple[str, ...] = Field((), description="further sources, of plug-ins")
    keys: dict[str, SecretStr] = Field(
        default_factory=dict, description="of those of them that need one"
    )
    gdelt: bool = Field(default=False, description="headlines of the world's news sites")
    cryptopanic_token: SecretStr | None = Field(None, description="asked where it is set")
    reddit: RedditSettings | None = Field(None, description="asked where it is set")
    social_text_hours: Hours = Field(
        48, gt=0, description="texts of posts are kept so long; their scores stay"
    )

    @model_validator(mode="after")
    def _feeds_have_addresses(self) -> Self:
        for name in self.news:
            if name not in FEEDS and name not in self.feeds:
                raise UnknownFeedError(name, [*FEEDS, *self.feeds])
        return self


class SignalSettings(Group):
    """The signal policy."""

    policy: str = Field(
        "thresholds", min_length=1, description="thresholds, profit, or one of a plug-in"
    )
    cost_bps: float = Field(
        10.0, ge=0, le=10_000, description="basis points a side, fees and slippage"
    )
    minimum_strength: float = Field(0.10, ge=0, le=1, description="of |p_up - p_down|")
    minimum_agreement: float = Field(0.5, ge=0, le=1, description="share of agreeing members")
    kelly_fraction: float = Field(0.5, gt=0, le=1, description="of the growth-optimal size")
    size_cap: float = Field(0.10, gt=0, le=1, description="largest size_fraction")


class Settings(BaseSettings):
    """Everything in force, with its defaults."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        extra="ignore",
        frozen=True,
        nested_model_default_partial_update=True,
        hide_input_in_errors=True,  # there may be a secret in it
    )
    file: ClassVar[Path] = SETTINGS_FILE

    state: Place = Field(Path(".alphapulse"), description="state folder")
    database_url: SecretStr | None = Field(None, description="a PostgreSQL of yours")
    bus_url: str | None = Field(
        None, description="between rooms, reached as kafka.* says: kafka://host:9092"
    )
    clock: Literal["system", "exchange"] = Field("system", description="whose time it is")
    host: Host = Field("127.0.0.1", description="address the API binds to")
    port: int = Field(8000, ge=0, le=65535, description="port of the API; 0 lets the system choose")
    log_level: Annotated[
        Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"], BeforeValidator(_shouted)
    ] = Field("INFO", description="least that the log tells")
    history_bars: int = Field(
        2_000, ge=200, le=10_000_000, description="candles loaded before going live"
    )
    deadline_ms: int = Field(
        250, gt=0, le=86_400_000, description="wait for a tick's last instruments"
    )
    snapshot_bars: Many = Field(100, description="candles between snapshots of state")
    api: ApiSettings = ApiSettings()
    watch: WatchSettings = WatchSettings()
    exchange: dict[str, ExchangeSettings] = Field(default_factory=dict)
    build: BuildSettings = BuildSettings()
    capture: CaptureSettings = CaptureSettings()
    sources: SourceSettings = SourceSettings()
    signals: SignalSettings = SignalSettings()
    ledger: LedgerSettings = LedgerSettings()
    training: TrainingSettings = TrainingSettings()
    notify: NotifySettings = NotifySettings()
    kafka: KafkaSettings = KafkaSettings()
    retention: RetentionSettings = RetentionSettings()

    @property
    def plugins(self) -> SwitchedOn:
        """The plug-ins that names of models, features, labels, sources and the policy switch on."""
        from backend.plugins import SwitchedOn  # noqa: PLC0415 - only where it is asked

        about, variants = self.training, self.training.varied
        theirs = {name for one in variants for name in one.models}
        models = [name for name in (*about.kinds, *about.online) if name not in theirs]
        models += [name for one in variants for name in one.varied]
        others = (*about.all_features, *about.labels, self.signals.policy, *self.sources.plugins)
        others += (about.candidate,) if about.candidate else ()
        on = SwitchedOn.by(models, others, self.state)
        return replace(on, variants=variants)

    @model_validator(mode="before")
    @classmethod
    def _can_be_written(cls, given: object) -> object:
        refuse_unwritable(given)
        return given

    @model_validator(mode="after")
    def _history_has_a_calendar(self) -> Self:
        longest = max(self.watch.timeframes, key=lambda one: one.ms)
        most = REACH // longest.duration
        if self.history_bars > most:
            raise UsageError(
                f"setting history_bars: {self.history_bars} candles of {longest.value} reach back"
                f" beyond {REACH.days // 365} years; {most} do not"
            )
        return self

    @model_validator(mode="after")
    def _models_exist(self) -> Self:
        """Of the release, or of a plug-in that is there; its targets are known once it is loaded.

        Raises:
            UnknownModelError: neither.
            UnknownNameError: a feature set, label, source or policy is of nobody.
            UsageError: a variant cannot be.
        """
        if self.training.model_fields_set & {"kinds", "online", "features", "variants"}:
            from backend.plugins import known_models  # noqa: PLC0415 - only where they are named

            fitted, online = known_models(self.state, self.training.varied)
            named = [(name, fitted) for name in self.training.kinds]
            for name, known in (*named, *((name, online) for name in self.training.online)):
                if name not in known and name.partition(".")[0] not in known:
                    raise UnknownModelError(name, known)
        policy = self.signals.policy if "policy" in self.signals.model_fields_set else None
        about = self.training
        for place, wanted in (
            ("features", about.all_features),
            ("candles", (about.candidate,) if about.candidate else ()),
            ("labels", about.labels),
            ("sources", self.sources.plugins),
            ("policies", (policy,) if policy else ()),
        ):
            if wanted:
                from backend.plugins import refuse_unknown  # noqa: PLC0415 - as above

                refuse_unknown(place, wanted, self.state)
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        del dotenv_settings, file_secret_settings
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, cls.file)


GROUPS: Mapping[str, type[Group]] = {
    "api": ApiSettings,
    "build": BuildSettings,
    "capture": CaptureSettings,
    "exchange": ExchangeSettings,
    "kafka": KafkaSettings,
    "ledger": LedgerSettings,
    "notify": NotifySettings,
    "retention": RetentionSettings,
    "signals": SignalSettings,
    "sources": SourceSettings,
    "training": TrainingSettings,
    "watch": WatchSettings,
}


def load(flags: Mapping[str, Any] | None = None) -> Settings:
    """The settings in force; `flags` that are None were not given.

    Raises:
        UsageError: a name or a value that cannot be, or an unreadable file; one line names it.
    """
    given = {name: value for name, value in (flags or {}).items() if value is not None}
    try:
        _refuse_unknown(table(), os.environ)
        return Settings(**given)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            within = where.rpartition(".")[0]
            known = group_at(GROUPS, first["loc"]).model_fields
            raise UnknownSettingError(where, [f"{within}.{name}" for name in known]) from error
        said = first["msg"].removeprefix("Value error, ")
        raise UsageError(f"setting {where}: {said}") from error
    except SettingsError as error:  # it names the group, and not the variable
        raise UsageError(not_json(PREFIX, os.environ)) from error
    except (ValueError, RecursionError) as error:  # no TOML, or a number of thousands of digits
        raise UsageError(f"{SETTINGS_FILE}: {error}") from error


def table() -> dict[str, Any]:
    """The settings file as it stands; empty where there is none.

    Raises:
        UsageError: it cannot be read, or is no file: a pipe would be waited for.
        tomllib.TOMLDecodeError: it is no TOML.
    """
    if not os.path.lexists(SETTINGS_FILE):
        return {}
    if SETTINGS_FILE.exists() and not (SETTINGS_FILE.is_file() or SETTINGS_FILE.is_dir()):
        raise UsageError(f"{SETTINGS_FILE} cannot be read: it is no file")
    return tomllib.loads(read_text(SETTINGS_FILE))


def _refuse_unknown(table: Mapping[str, Any], environment: Mapping[str, str]) -> None:
    """Of the first level; a `Group` refuses what it does not know itself.

    Raises:
        UnknownSettingError: a misspelt name would otherwise leave the default in force.
    """
    fields = Settings.model_fields
    for name in table:
        if name not in fields:
            raise UnknownSettingError(name, fields)
    for variable in map(str.upper, environment):
        if not variable.startswith(PREFIX) or variable.startswith(NOT_SETTINGS):
            continue
        name, nested, _ = variable.removeprefix(PREFIX).lower().partition("__")
        if name not in fields or (nested and name not in GROUPS):
            raise UnknownSettingError(variable, [PREFIX + each.upper() for each in fields])
