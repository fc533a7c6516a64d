"""The news feeds that are known by name."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Final

DAY: Final = timedelta(days=1)
FEEDS: Final[Mapping[str, tuple[str, timedelta]]] = {  # address; how long it may have no news
    "coindesk": ("https://www.coindesk.com/arc/outboundfeeds/rss/", DAY),
    "cointelegraph": ("https://cointelegraph.com/rss", DAY),
    "decrypt": ("https://decrypt.co/feed", DAY),
    "bitcoinmagazine": ("https://bitcoinmagazine.com/feed", 2 * DAY),
    "kraken_blog": ("https://blog.kraken.com/feed", 14 * DAY),
}
