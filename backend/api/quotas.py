"""How many requests a minute: a bucket for each key, and for each address where there is none."""

from __future__ import annotations

import ipaddress
import math
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from backend.api.limits import RequestBudget
from backend.api.problems import ProblemError

WINDOW_S: Final = 60
MOST_ADDRESSES: Final = 10_000  # 2 MB; of more, those that asked longest ago begin anew
_POLICY: Final = "default"


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What is left of a quota after a request."""

    quota: int
    left: int
    full_s: int  # until all of it is there again
    wait_s: float  # until a refused request would be met; 0: this one is

    def headers(self) -> dict[str, str]:
        """Those of draft-ietf-httpapi-ratelimit-headers-10."""
        return {
            "RateLimit-Policy": f'"{_POLICY}";q={self.quota};w={WINDOW_S}',
            "RateLimit": f'"{_POLICY}";r={self.left};t={self.full_s}',
        }

    def refusal(self) -> ProblemError:
        """The problem of who asks too often."""
        return ProblemError(
            "rate_limited",
            f"{self.quota} requests a minute are allowed; ask again in {math.ceil(self.wait_s)} s",
            retry_after_ms=math.ceil(self.wait_s * 1_000),
        )


class Quotas:
    """Buckets that fill up evenly, each up to its quota."""

    def __init__(self) -> None:
        self._keys: dict[str, RequestBudget] = {}
        self._addresses: OrderedDict[str, RequestBudget] = OrderedDict()

    def of_key(self, key_id: str, quota: int, at: float) -> Spent:
        """Take one request from the bucket of a valid key, at `at` seconds."""
        bucket = self._keys.get(key_id)
        if bucket is None:
            bucket = self._keys[key_id] = _bucket(quota, at)
        return _spend(bucket, quota, at)

    def of_address(self, address: str, quota: int, at: float) -> Spent:
        """Take one request from the bucket of an address."""
        network = network_of(address)
        bucket = self._addresses.pop(network, None) or _bucket(quota, at)
        self._addresses[network] = bucket  # the newest last
        if len(self._addresses) > MOST_ADDRESSES:
            self._addresses.popitem(last=False)
        return _spend(bucket, quota, at)


def network_of(address: str) -> str:
    """An address; of IPv6 the network of 64 bits, which one customer has to himself.

    >>> network_of("10.0.0.8"), network_of("2001:db8::1"), network_of("2001:db8::2")
    ('10.0.0.8', '2001:db8::/64', '2001:db8::/64')
    """
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed, 64), strict=False))


def _bucket(quota: int, at: float) -> RequestBudget:
    return RequestBudget(per_s=quota / WINDOW_S, burst=quota, at=at)


def _spend(bucket: RequestBudget, quota: int, at: float) -> Spent:
    wait_s = bucket.spend(at)
    left = bucket.tokens
    full_s = math.ceil((quota - left) * WINDOW_S / quota)
    return Spent(quota=quota, left=math.floor(left), full_s=full_s, wait_s=wait_s)
