"""Which brokers a system asks: to take what it commits, to be the road between its rooms.

What speaks to them is an extra.
"""

from __future__ import annotations

import ssl
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from backend.setting_tables import KafkaSettings
from backend.settings import Settings
from domain.errors import UsageError

SCHEME: Final = "kafka://"


def refuse_without_kafka(settings: Settings) -> None:
    """Before anything begins.

    Raises:
        UsageError: a broker is named, and what speaks to it is not installed, or the file of its
            certificates holds none; or as `bus_of`.
    """
    between = bus_of(settings)
    absent = find_spec("aiokafka") is None or find_spec("cramjam") is None
    if (settings.kafka.brokers or between) and absent:
        named = "kafka.brokers" if settings.kafka.brokers else "ALPHAPULSE_BUS_URL"
        raise UsageError(f"{named} needs aiokafka: install alphapulse[kafka]")
    if (settings.kafka.brokers or between) and settings.kafka.tls and settings.kafka.ca:
        _refuse_no_certificates(settings.kafka.ca)


def _refuse_no_certificates(ca: Path) -> None:
    try:
        ssl.create_default_context(cafile=ca)
    except OSError as error:  # also of what OpenSSL finds in it
        raise UsageError(f"kafka.ca: {ca} holds no certificates in PEM") from error


def bus_of(settings: Settings) -> KafkaSettings | None:
    """The cluster between rooms, reached as `[kafka]` says; None: they are of one process.

    Raises:
        UsageError: the address names none.
    """
    url = settings.bus_url
    if not url:
        return None
    brokers = url.removeprefix(SCHEME).split(",")
    try:
        if url.startswith(SCHEME) and "@" not in url:
            return KafkaSettings(**settings.kafka.model_dump() | {"brokers": brokers})
    except ValueError:
        pass
    # It may hold a secret, though none belongs there.
    raise UsageError(
        "ALPHAPULSE_BUS_URL is kafka://host:9092, or several with commas; who we are is in [kafka]"
    )
