"""Every adapter of a source with payloads of its documented shape, good and malformed.

The payloads are written by hand from the sources' documentation.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import aiohttp
from pydantic import SecretStr

from collectors.sources.ccxt_metrics import CcxtDerivatives
from collectors.sources.cryptopanic import cryptopanic
from collectors.sources.fear_greed import fear_greed
from collectors.sources.gdelt import gdelt
from collectors.sources.reddit import RedditKey, reddit
from collectors.sources.rss import news
from domain.market import Instrument, to_ms
from domain.ports import Clock, Source
from domain.sources import MARKET, Metric
from tests.doubles import START
from tests.source_site import Site

SECRET = "s3cr3t/of+the=test"  # noqa: S105 - not a real one; spelt differently in a query
HOUR = timedelta(hours=1)
NOON = START + 12 * HOUR  # when the payloads are fetched
BTC, ETH = (Instrument("binanceusdm", f"{base}/USDT:USDT") for base in ("BTC", "ETH"))

ERROR_PAGE = b"<!DOCTYPE html><html><head><title>502</title></head><body>Bad gateway</body></html>"


def as_json(value: object) -> bytes:
    return json.dumps(value).encode()


@dataclass(frozen=True, kw_only=True)
class Subject:
    """One adapter, and what its source may answer.

    `wrong_types` holds `readable` rows beside those that are not. `twice` holds one row two
    times and another two times with different content.
    """

    name: str
    make: Callable[[aiohttp.ClientSession, Clock, Site], Source]
    path: str
    good: bytes
    told: Sequence[tuple[object, ...]]  # (identity, time in ms, title or value)
    empty: bytes
    wrong_types: bytes
    twice: bytes | None  # None: it tells one row
    readable: int = 1
    distinct: int = 0  # rows of `twice` that are told
    ahead: bytes | None = None  # one row of a time to come
    others: dict[str, bytes] = field(default_factory=dict)  # paths that it asks as well
    secret: bool = False
    web: bool = True  # asks one address by itself
    pause: timedelta = timedelta(seconds=5)

    def serve(self, site: Site, body: Any) -> None:
        """Let the site answer with `body`, bytes or a handler."""
        site.answers = {**self.others, self.path: body}


def rss(*items: str) -> bytes:
    return (
        '<?xml version="1.0" encoding="UTF-8"?><rss version="2.0"><channel><title>News</title>'
        "<link>https://news.example/</link>" + "".join(items) + "</channel></rss>"
    ).encode()


def item(title: str, guid: str, published: str, more: str = "") -> str:
    return (
        f"<item><title>{title}</title><link>https://news.example/{guid}</link>"
        f'<guid isPermaLink="false">{guid}</guid><pubDate>{published}</pubDate>{more}</item>'
    )


def atom(*entries: str) -> bytes:
    return (
        '<?xml version="1.0" encoding="utf-8"?><feed xmlns="http://www.w3.org/2005/Atom">'
        "<title>Blog</title><id>urn:blog</id><updated>2024-01-01T00:00:00Z</updated>"
        + "".join(entries)
        + "</feed>"
    ).encode()


def entry(title: str, identity: str, updated: str) -> str:
    return (
        f"<entry><title>{title}</title><id>{identity}</id><updated>{updated}</updated>"
        f'<link href="https://blog.example/{identity}"/></entry>'
    )


def days(*rows: object, error: str | None = None) -> bytes:
    metadata = {"error": error}
    return as_json({"name": "Fear and Greed Index", "data": list(rows), "metadata": metadata})


def day(value: object, moment: object, **more: object) -> dict[str, object]:
    return {"value": value, "value_classification": "Fear", "timestamp": moment, **more}


def article(url: object, title: object, seen: str = "20240101T110000Z") -> dict[str, object]:
    return {
        "url": url,
        "url_mobile": "",
        "title": title,
        "seendate": seen,
        "socialimage": "",
        "domain": "news.example",
        "language": "English",
        "sourcecountry": "United States",
    }


def post(number: object, title: object, **more: object) -> dict[str, object]:
    return {
        "id": number,
        "kind": "news",
        "title": title,
        "published_at": "2024-01-01T11:00:00Z",
        "instruments": [{"code": "BTC"}],
        **more,
    }


def posts(*rows: object) -> bytes:
    following = f"https://cryptopanic.example/api/v2/posts/?auth_token={SECRET}&page=2"
    return as_json({"count": len(rows), "next": following, "previous": None, "results": list(rows)})


def submission(identity: object, title: object, **more: object) -> dict[str, object]:
    data = {
        "id": identity,
        "title": title,
        "created_utc": (to_ms(NOON - HOUR)) / 1000,
        "selftext": "",
        "score": 12,
        "num_comments": 5,
        "subreddit": "Bitcoin",
        "permalink": f"/r/Bitcoin/comments/{identity}/",
        **more,
    }
    return {"kind": "t3", "data": data}


def listing(*children: object) -> bytes:
    return as_json({"kind": "Listing", "data": {"after": None, "children": list(children)}})


def premium(symbol: str, rate: object, moment: object) -> dict[str, object]:
    return {
        "symbol": symbol,
        "markPrice": "42000.1",
        "indexPrice": "42001.2",
        "estimatedSettlePrice": "42000.9",
        "lastFundingRate": rate,
        "interestRate": "0.00010000",
        "nextFundingTime": to_ms(NOON + 4 * HOUR),
        "time": moment,
    }


def ratio(value: object, moment: object) -> dict[str, object]:
    accounts = {"longAccount": "0.6000", "shortAccount": "0.4000"}
    return {"symbol": "BTCUSDT", "longShortRatio": value, **accounts, "timestamp": moment}


def perpetual(base: str) -> dict[str, object]:
    return {
        "symbol": f"{base}USDT",
        "pair": f"{base}USDT",
        "contractType": "PERPETUAL",
        "deliveryDate": 4133404800000,
        "onboardDate": 1569398400000,
        "status": "TRADING",
        "baseAsset": base,
        "quoteAsset": "USDT",
        "marginAsset": "USDT",
        "pricePrecision": 2,
        "quantityPrecision": 3,
        "filters": [
            {"filterType": "PRICE_FILTER", "tickSize": "0.10", "minPrice": "1", "maxPrice": "9"},
            {"filterType": "LOT_SIZE", "stepSize": "0.001", "minQty": "1", "maxQty": "9"},
        ],
    }


MARKETS = {
    "/fapi/v1/exchangeInfo": as_json(
        {"timezone": "UTC", "symbols": [perpetual("BTC"), perpetual("ETH")]}
    )
}


def metric(
    name: Metric, *instruments: Instrument
) -> Callable[[aiohttp.ClientSession, Clock, Site], Source]:
    def make(session: aiohttp.ClientSession, clock: Clock, site: Site) -> Source:
        exchange = CcxtDerivatives(
            "binanceusdm", session=session, rest_url=site.address(), rate_limited=False
        )
        return exchange.source(name, lambda: instruments, clock)

    return make


ELEVEN = to_ms(NOON - HOUR)
MIDNIGHT, DAY_BEFORE = to_ms(START), to_ms(START - 24 * HOUR)
LATER = to_ms(NOON + HOUR)
PUBLISHED = "Mon, 01 Jan 2024 12:00:00 +0100"

SUBJECTS = (
    Subject(
        name="fear_greed",
        make=lambda session, clock, site: fear_greed(session, clock, url=site.address("/fng/")),
        path="/fng/",
        good=days(
            day("47", str(MIDNIGHT // 1000), time_until_update="6023"),
            day("39", str(DAY_BEFORE // 1000)),
        ),
        told=((MARKET, MIDNIGHT, 47.0), (MARKET, DAY_BEFORE, 39.0)),
        empty=days(),
        wrong_types=days(
            day("many", "1704067200"), day("101", "1704067200"), day("50", "1703980800")
        ),
        twice=days(
            *2 * [day("47", "1704067200")], day("39", "1703980800"), day("12", "1703980800")
        ),
        distinct=2,
        ahead=days(day("47", str(LATER // 1000))),
    ),
    Subject(
        name="coindesk",
        make=lambda session, clock, site: news(
            "coindesk", session, clock, url=site.address("/rss")
        ),
        path="/rss",
        good=rss(
            item(
                "Bitcoin &amp; Ether rally",
                "a1",
                PUBLISHED,
                "<description>&lt;p&gt;Up &lt;b&gt;9%&lt;/b&gt;&lt;/p&gt;</description>",
            ),
            item("Exchange hacked", "a2", "Mon, 01 Jan 2024 10:30:00 GMT"),
        ),
        told=(
            ("a1", ELEVEN, "Bitcoin & Ether rally"),
            ("a2", ELEVEN - 1_800_000, "Exchange hacked"),
        ),
        empty=rss(),
        wrong_types=rss(
            "<item><description>no title</description></item>",
            "<item><title>no identity</title></item>",
            item("Readable", "a3", "not a date"),
        ),
        twice=rss(
            *2 * [item("Once", "a1", PUBLISHED)],
            item("One thing", "a2", PUBLISHED),
            item("Another thing", "a2", PUBLISHED),
        ),
        distinct=2,
        ahead=rss(item("Tomorrow", "a1", "Mon, 01 Jan 2024 13:00:00 GMT")),
        pause=timedelta(seconds=30),
    ),
    Subject(
        name="blog",
        make=lambda session, clock, site: news("blog", session, clock, url=site.address("/atom")),
        path="/atom",
        good=atom(entry("New listing", "urn:1", "2024-01-01T11:00:00Z")),
        told=(("urn:1", ELEVEN, "New listing"),),
        empty=atom(),
        wrong_types=atom(
            "<entry><updated>2024-01-01T11:00:00Z</updated></entry>",
            entry("Readable", "urn:2", "2024-01-01T11:00:00Z"),
        ),
        twice=atom(*2 * [entry("Once", "urn:1", "2024-01-01T11:00:00Z")]),
        distinct=1,
        ahead=atom(entry("Tomorrow", "urn:1", "2024-01-01T13:00:00Z")),
        pause=timedelta(seconds=30),
    ),
    Subject(
        name="gdelt",
        make=lambda session, clock, site: gdelt(session, clock, url=site.address("/doc")),
        path="/doc",
        good=as_json(
            {"articles": [article("https://news.example/1", "Bitcoin 's price at new high")]}
        ),
        told=(("https://news.example/1", ELEVEN, "Bitcoin 's price at new high"),),
        empty=as_json({}),
        wrong_types=as_json(
            {
                "articles": [
                    article(7, "a number for an address"),
                    article("https://news.example/2", None),
                    "text",
                    article("https://news.example/3", "Readable"),
                ]
            }
        ),
        twice=as_json(
            {
                "articles": [
                    *2 * [article("https://news.example/1", "Once")],
                    article("https://news.example/2", "One thing"),
                    article("https://news.example/2", "Another thing"),
                ]
            }
        ),
        distinct=2,
        ahead=as_json({"articles": [article("https://a.example/", "T", "20240101T130000Z")]}),
        pause=timedelta(seconds=6),
    ),
    Subject(
        name="cryptopanic",
        make=lambda session, clock, site: cryptopanic(
            session, clock, token=SecretStr(SECRET), url=site.address("/posts/")
        ),
        path="/posts/",
        good=posts(
            post(101, "ETF approved", votes={"positive": 7, "negative": 1, "liked": 2}),
            post(102, "Nothing happens", description=f"see ?auth_token={SECRET}"),
        ),
        told=(("101", ELEVEN, "ETF approved"), ("102", ELEVEN, "Nothing happens")),
        empty=posts(),
        wrong_types=posts(
            post({"a": 1}, "an object for an id"),
            post(1, ["a", "list"]),
            post(2, "votes are a text", votes="many"),
            post(3, "Readable", votes=None),
        ),
        twice=posts(*2 * [post(1, "Once")], post(2, "One thing"), post(2, "Another thing")),
        distinct=2,
        ahead=posts(post(1, "Tomorrow", published_at="2024-01-01T13:00:00+00:00")),
        secret=True,
    ),
    Subject(
        name="reddit",
        make=lambda session, clock, site: reddit(
            session,
            clock,
            application=RedditKey(
                client_id="id", client_secret=SecretStr(SECRET), username="somebody"
            ),
            communities=["Bitcoin", "ethereum"],
            token_url=site.address("/token"),
            api_url=site.address(),
        ),
        path="/r/Bitcoin+ethereum/new",
        good=listing(
            submission("p1", "What a scam", selftext="All of it"),
            submission("p2", "Gone", removed_by_category="moderator"),
        ),
        told=(("p1", ELEVEN, "What a scam"),),
        empty=listing(),
        wrong_types=listing(
            submission(None, "no id"),
            submission("p1", "text for a number", score="twelve"),
            {"kind": "t3"},
            submission("p2", "Readable"),
        ),
        twice=listing(
            *2 * [submission("p1", "Once")],
            submission("p2", "One thing"),
            submission("p2", "Another thing"),
        ),
        distinct=2,
        ahead=listing(submission("p1", "Tomorrow", created_utc=LATER / 1000)),
        others={"/token": as_json({"access_token": "bearer-token", "expires_in": 86400})},
        secret=True,
    ),
    Subject(
        name="binanceusdm.funding_rate",
        make=metric(Metric.FUNDING_RATE, BTC, ETH),
        path="/fapi/v1/premiumIndex",
        good=as_json(
            [premium("BTCUSDT", "0.00010000", ELEVEN), premium("ETHUSDT", "-0.0002", ELEVEN)]
        ),
        told=((BTC, ELEVEN, 0.0001), (ETH, ELEVEN, -0.0002)),
        empty=as_json([]),
        wrong_types=as_json([premium("BTCUSDT", [], ELEVEN), premium("ETHUSDT", "0.0001", ELEVEN)]),
        twice=as_json(2 * [premium("BTCUSDT", "0.0001", ELEVEN)]),
        distinct=1,
        ahead=as_json([premium("BTCUSDT", "0.0001", LATER)]),
        others=MARKETS,
        web=False,
    ),
    Subject(
        name="binanceusdm.open_interest",
        make=metric(Metric.OPEN_INTEREST, BTC),
        path="/fapi/v1/openInterest",
        good=as_json({"symbol": "BTCUSDT", "openInterest": "81234.5", "time": ELEVEN}),
        told=((BTC, ELEVEN, 81234.5),),
        empty=as_json([]),
        wrong_types=as_json({"symbol": "BTCUSDT", "openInterest": {}, "time": "noon"}),
        readable=0,
        twice=None,
        ahead=as_json({"symbol": "BTCUSDT", "openInterest": "81234.5", "time": LATER}),
        others=MARKETS,
        web=False,
    ),
    Subject(
        name="binanceusdm.long_short_ratio",
        make=metric(Metric.LONG_SHORT_RATIO, BTC),
        path="/futures/data/globalLongShortAccountRatio",
        good=as_json([ratio("1.5000", ELEVEN)]),
        told=((BTC, ELEVEN, 1.5),),
        empty=as_json([]),
        wrong_types=as_json([ratio({}, ELEVEN)]),
        readable=0,
        twice=as_json(2 * [ratio("1.5000", ELEVEN)]),
        distinct=1,
        ahead=as_json([ratio("1.5000", LATER)]),
        others=MARKETS,
        web=False,
    ),
)
