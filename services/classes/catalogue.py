"""The kinds of label that this release has beside the three targets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from domain.classes import LabelKind
from services.classes.regime import REGIME
from services.classes.rotation import ROTATION

LABELS: Final[Mapping[str, LabelKind]] = {one.name: one for one in (REGIME, ROTATION)}
