"""What wiring hands to the API."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import asyncpg

from backend.api.hub import Hub
from backend.api.status import Status
from domain.ports import Clock


@dataclass(slots=True, kw_only=True)
class ApiState:
    """The parts the API stands on. `reader` is None until the store answers."""

    clock: Clock
    hub: Hub
    status: Status
    reader: asyncpg.Pool | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)  # shown on the page, no secrets
