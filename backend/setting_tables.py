"""What all tables of the settings file are, and those that need nothing of the others."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, Self, get_args, get_origin

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PositiveInt,
    SecretStr,
    model_validator,
)
from pydantic.fields import FieldInfo

from backend.setting_values import (
    Days,
    Hours,
    Many,
    Origin,
    Place,
    SocketAddress,
    WebAddress,
    address,
    host,
    port,
)
from domain.errors import UnknownNameError
from domain.keys import instrument_patterns
from domain.market import Timeframe
from domain.topics import PREFIX
from services.notifications.events import EVENTS
from services.notifications.rules import Rule

if TYPE_CHECKING:
    from services.models.variants import Variant


Parameters = Mapping[str, int | float | str]


def not_json(prefix: str, environment: Mapping[str, str]) -> str:
    """Which variables of groups cannot be lists or tables, in words without their values."""
    nested = [name for name in environment if name.startswith(prefix) and "__" in name]
    broken = sorted(name for name in nested if not _is_json(environment[name]))
    return f'a list or a table in a variable is JSON, as ["a", "b"]: see {", ".join(broken)}'


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


class Group(BaseModel):
    """A table of the settings file; an unknown name in it is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def held_by(field: FieldInfo) -> type[Any] | None:
    """What a table holds, or several tables: a group, or strings by names that are the user's."""
    annotation: Any = field.annotation
    if get_origin(annotation) is dict:
        held: Any = get_args(annotation)[1]
        plain: type[Any] = get_args(held)[0] if get_origin(held) is Annotated else held
        return plain
    several = isinstance(annotation, UnionType) or get_origin(annotation) is tuple
    for one in get_args(annotation) if several else (annotation,):
        if isinstance(one, type) and issubclass(one, Group):
            return one
    return None


def group_at(groups: Mapping[str, type[Group]], place: Sequence[str | int]) -> type[Group]:
    """The group that the last of `place` should be a setting of."""
    group = groups[str(place[0])]
    for part in place[1:-1]:
        field = group.model_fields.get(str(part))
        within = None if field is None else held_by(field)
        if within is not None and issubclass(within, Group):
            group = within
    return group


class ExchangeSettings(Group):
    """Other addresses for an exchange: a testnet, a proxy, a test server."""

    rest_url: WebAddress | None = Field(None, description="in place of scheme and host of its REST")
    ws_url: SocketAddress | None = Field(None, description="the same of its WebSocket")


class ApiSettings(Group):
    """Who may call, from this machine and from others."""

    require_keys: bool = Field(
        default=False, description="of callers on this machine too, as behind a proxy on it"
    )
    quota: Many = Field(600, description="requests a minute of an address that shows no valid key")
    origins: tuple[Origin, ...] = Field(
        (), description='of pages of other sites that may call: "https://app.example"'
    )
    tls_cert: Place | None = Field(None, description="file of certificates, to serve encrypted")
    tls_key: Place | None = Field(None, description="file of its private key")


class RedditSettings(Group):
    """An application of yours at Reddit («script»)."""

    client_id: str = Field(description="of the application")
    client_secret: SecretStr = Field(description="of the application")
    username: str = Field(description="whose application it is; Reddit wants to know")
    communities: tuple[str, ...] = Field(
        ("CryptoCurrency", "Bitcoin", "ethereum", "CryptoMarkets"), description="that are read"
    )


class VariantSettings(Group):
    """A kind of model with other parameters, under a name of its own."""

    kind: str = Field(description="that it varies, as lightgbm")
    trials: Many = Field(description="tried before it was chosen, itself among them")
    features: tuple[str, ...] | None = Field(
        None, description="feature sets that it reads, where not set those of training.features"
    )
    direction: Parameters | None = Field(None, description="parameters that differ: { depth = 3 }")
    volatility: Parameters | None = Field(None, description="the same of another target")
    quantiles: Parameters | None = Field(None, description="the same of another target")

    def of(self, target: str) -> Parameters:
        """What differs where it forecasts `target`; nothing where it does not."""
        return getattr(self, target) or {}

    def named(self, name: str) -> Variant:
        """As an entry of the catalogue."""
        from services.models.variants import Variant  # noqa: PLC0415 - only where there is one

        differing = self.model_dump(exclude={"kind", "trials", "features"}, exclude_none=True)
        return Variant.of(name, self.kind, self.trials, differing)


BasisPoints = Annotated[float, Field(ge=0, le=1_000)]


class LedgerSettings(Group):
    """The paper account that takes the signals; a change of its terms reckons it anew."""

    capital: float = Field(
        10_000.0, gt=0, le=1e15, description="at the start, at each exchange, timeframe"
    )
    currency: str | None = Field(
        None, min_length=1, description="it counts in; where not set, the quote of most instruments"
    )
    fee_bps: BasisPoints = Field(8.0, description="basis points a side, where fees name no other")
    fees: dict[str, BasisPoints] = Field(
        default_factory=dict, description="basis points by exchange"
    )
    slippage_bps: BasisPoints = Field(2.0, description="basis points by which a fill is worse")
    funding_hours: Literal[1, 2, 3, 4, 6, 8, 12, 24] = Field(
        8, description="between two fundings of perpetuals, from midnight UTC on"
    )


class UnknownEventError(UnknownNameError):
    """An event that nobody can be notified of."""

    noun = "event"


class UnknownChannelError(UnknownNameError):
    """A channel of notifications that no table describes."""

    noun = "channel"


SECRET_BYTES: Final = range(24, 65)  # by Standard Webhooks
_PREFIX: Final = "whsec_"
_NO_SECRET: Final = (
    f"a secret is {_PREFIX} and {SECRET_BYTES.start} to {SECRET_BYTES.stop - 1} bytes in base64, as"
    f" `echo {_PREFIX}$(head -c 32 /dev/urandom | base64)` prints one"
)


def webhook_key(secret: str) -> bytes:
    """The key that a secret spells: `whsec_` and base64, as Standard Webhooks has it.

    Raises:
        ValueError: it spells none; the message does not repeat it.
    """
    try:
        key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except binascii.Error:
        key = b""
    if not secret.startswith(_PREFIX) or len(key) not in SECRET_BYTES:
        raise ValueError(_NO_SECRET)
    return key


class ChannelSettings(Group):
    """A way to somebody outside: a webhook (url, secret), or a service (apprise)."""

    url: SecretStr | None = Field(None, description="of a webhook: it takes POST")
    secret: SecretStr | None = Field(
        None, description="by which its receiver knows us: whsec_ and 24 to 64 bytes in base64"
    )
    apprise: SecretStr | None = Field(
        None, description="of a service, as apprise has it: tgram://…, discord://…, mailto://…"
    )
    per_minute: int = Field(60, gt=0, le=100_000, description="tries in any minute, at most")

    @model_validator(mode="after")
    def _is_one_of_both(self) -> Self:
        if (self.url is None) == (self.apprise is None):
            raise ValueError("a channel has a url, or apprise")
        if (self.url is None) != (self.secret is None):
            raise ValueError(f"a url has a secret, apprise has none: {_NO_SECRET}")
        if self.url:
            what = "the url of a webhook"
            address(self.url.get_secret_value(), schemes=("https", "http"), what=what)
        if self.apprise and not self.apprise.get_secret_value().partition("://")[2]:
            raise ValueError("apprise is an address like tgram://…, discord://… or mailto://…")
        if self.secret:
            webhook_key(self.secret.get_secret_value())
        return self


def _parsed(value: object) -> object:
    return [Timeframe.parse(str(one)) for one in value] if isinstance(value, list) else value


class RuleSettings(Group):
    """Which events go to which channels."""

    events: tuple[str, ...] = Field(min_length=1, description="like signal.opened, source.down")
    channels: tuple[str, ...] = Field(min_length=1, description="names of tables above")
    instruments: tuple[str, ...] | None = Field(
        None, description="patterns like binance:BTC/USDT, kraken:*; all where not set"
    )
    timeframes: Annotated[tuple[Timeframe, ...], BeforeValidator(_parsed)] = Field(
        (), description="of what has one; all where not set"
    )
    minimum_strength: float = Field(0.0, ge=0, le=1, description="of signals, |p_up - p_down|")

    @model_validator(mode="after")
    def _events_exist(self) -> Self:
        for event in self.events:
            if event not in EVENTS:
                raise UnknownEventError(event, EVENTS)
        if self.instruments is not None:
            instrument_patterns(self.instruments)
        if self.minimum_strength and not any(one.startswith("signal.") for one in self.events):
            raise ValueError("minimum_strength is of signals, and the rule names no event of them")
        return self

    def rule(self) -> Rule:
        """As it is asked."""
        frames = tuple(one.value for one in self.timeframes)
        return Rule(**{**self.model_dump(), "timeframes": frames})


class NotifySettings(Group):
    """Who is told what, beside streams and REST: docs/notifications.md."""

    channels: dict[
        Annotated[str, Field(pattern="^[a-z0-9]+([_-][a-z0-9]+)*$")], ChannelSettings
    ] = Field(default_factory=dict, description="Where notifications go; names are yours")
    rules: tuple[RuleSettings, ...] = Field((), description="Which events go to which channels.")
    give_up_hours: Hours = Field(24, gt=0, description="of trying, before one is a dead letter")
    keep_days: Days = Field(30, gt=0, description="that sent ones are listed; dead ones stay")

    @model_validator(mode="after")
    def _channels_exist(self) -> Self:
        for rule in self.rules:
            for name in rule.channels:
                if name not in self.channels:
                    raise UnknownChannelError(name, self.channels)
        return self


class RetentionSettings(Group):
    """What is dropped once it is old, nothing where not set: docs/retention.md."""

    events_days: Days | None = Field(
        None,
        gt=0,
        description="events of candles, predictions, signals: resumes and proofs end there",
    )
    features_days: Days | None = Field(
        None, ge=30, description="feature rows of candles: trainings look no further back"
    )
    members_days: Days | None = Field(
        None, ge=90, description="rows of members and challengers that are judged; their days stay"
    )
    quarantine_days: Days | None = Field(
        None, gt=0, description="rows that were set aside as they could not be"
    )
    columnstore_days: Days = Field(
        14, gt=0, description="of candles that are corrected often; TimescaleDB packs older rows"
    )

    @property
    def drops(self) -> dict[str, int]:
        """Days by what is dropped after them."""
        said = self.model_dump(exclude={"columnstore_days"}, exclude_none=True)
        return {name.removesuffix("_days"): days for name, days in said.items()}


class KafkaSettings(Group):
    """A broker that predictions and signals are put on, for programs of yours: docs/kafka.md."""

    brokers: tuple[str, ...] = Field(
        (), description="some of the cluster, host:9092; none: it is not asked"
    )
    tls: bool = Field(default=False, description="encrypted, and the brokers' names are checked")
    ca: Place | None = Field(
        None, description="file of certificates to check them by; the system's where not set"
    )
    username: str | None = Field(None, description="where brokers ask who we are (SASL)")
    password: SecretStr | None = Field(None, description="of it")
    mechanism: Literal["SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN"] = Field(
        "SCRAM-SHA-512", description="PLAIN shows the password to the broker, and needs tls"
    )
    replication: PositiveInt | None = Field(
        None,
        le=2**15 - 1,
        description="copies of topics that are made; where not set 3, or one for each broker",
    )
    retention_days: Days = Field(7, gt=0, description="of topics that are made")
    prefix: str = Field(
        PREFIX,
        max_length=64,
        pattern="^[a-z0-9]+([.-][a-z0-9]+)*$",
        description="of topics and groups: keeps two systems on one cluster apart",
    )

    @property
    def protocol(self) -> str:
        """As clients of Kafka name it."""
        plain = "SSL" if self.tls else "PLAINTEXT"
        return plain if self.username is None else f"SASL_{plain}"

    @model_validator(mode="after")
    def _can_be(self) -> Self:
        for broker in self.brokers:
            name, _, number = broker.rpartition(":")
            try:
                host(name.removeprefix("[").removesuffix("]"))
            except ValueError:
                number = ""
            if not port(number):
                raise ValueError("a broker is host:port, as kafka.example:9092")
        if (self.username is None) != (self.password is None):
            raise ValueError("username and password belong together")
        if self.username is not None and self.mechanism == "PLAIN" and not self.tls:
            raise ValueError("PLAIN would show the password to the network: set tls")
        return self
