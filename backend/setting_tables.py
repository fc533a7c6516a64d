"""Tables of the settings file that stand within others, and what all tables are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, SecretStr

if TYPE_CHECKING:
    from services.models.variants import Variant

Parameters = Mapping[str, int | float | str]


class Group(BaseModel):
    """A table of the settings file; an unknown name in it is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ExchangeSettings(Group):
    """Other addresses for an exchange: a testnet, a proxy, a test server."""

    rest_url: str | None = Field(None, description="in place of scheme and host of its REST")
    ws_url: str | None = Field(None, description="the same of its WebSocket")


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
