"""Tables of the settings file that stand within others, and what all tables are."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PositiveInt, SecretStr

if TYPE_CHECKING:
    from services.models.variants import Variant

Parameters = Mapping[str, int | float | str]


MIRRORS: Final = ("http", "https", "sqlite", "postgresql", "mysql", "mssql")


def mirror_address(value: str) -> str:
    """`value`, which MLflow can copy to.

    Raises:
        ValueError: it cannot be an address of it; the message does not repeat it.
    """
    scheme, there, place = value.partition("://")
    if not (there and place) or scheme not in MIRRORS:
        raise ValueError(f"no address of an MLflow server; it begins with {MIRRORS[0]}://")
    return value


def _checked(value: SecretStr) -> SecretStr:
    mirror_address(value.get_secret_value())
    return value


def origin(value: str) -> str:
    """`value`, which a browser sends as `Origin`.

    Raises:
        ValueError: none does.
    """
    parts = urlsplit(value)
    whole = f"{parts.scheme}://{parts.netloc}"
    if parts.scheme not in {"http", "https"} or not parts.netloc or value != whole or "*" in value:
        raise ValueError(f"{value!r} is no origin; write https://app.example, without a path")
    return value


Origin = Annotated[str, AfterValidator(origin)]
MirrorAddress = Annotated[SecretStr, AfterValidator(_checked)]


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

    model_config = ConfigDict(extra="forbid", frozen=True)


class ExchangeSettings(Group):
    """Other addresses for an exchange: a testnet, a proxy, a test server."""

    rest_url: str | None = Field(None, description="in place of scheme and host of its REST")
    ws_url: str | None = Field(None, description="the same of its WebSocket")


class ApiSettings(Group):
    """Who may call, from this machine and from others."""

    require_keys: bool = Field(
        default=False, description="of callers on this machine too, as behind a proxy on it"
    )
    quota: int = Field(
        600, gt=0, description="requests a minute of an address that shows no valid key"
    )
    origins: tuple[Origin, ...] = Field(
        (), description='of pages of other sites that may call: "https://app.example"'
    )
    tls_cert: Path | None = Field(None, description="file of certificates, to serve encrypted")
    tls_key: Path | None = Field(None, description="file of its private key")


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
    trials: PositiveInt = Field(description="tried before it was chosen, itself among them")
    direction: Parameters | None = Field(None, description="parameters that differ: { depth = 3 }")
    volatility: Parameters | None = Field(None, description="the same of another target")
    quantiles: Parameters | None = Field(None, description="the same of another target")

    def of(self, target: str) -> Parameters:
        """What differs where it forecasts `target`; nothing where it does not."""
        return getattr(self, target) or {}

    def named(self, name: str) -> Variant:
        """As an entry of the catalogue."""
        from services.models.variants import Variant  # noqa: PLC0415 - only where there is one

        differing = self.model_dump(exclude={"kind", "trials"}, exclude_none=True)
        return Variant.of(name, self.kind, self.trials, differing)
