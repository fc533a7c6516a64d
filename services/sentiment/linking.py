"""Which assets a text speaks of: cashtags, pairs, names and tickers."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from services.sentiment.assets import (
    AMBIGUOUS_NAMES,
    AMBIGUOUS_TICKERS,
    CRYPTO_WORDS,
    NAMES,
    PLAIN_TICKERS,
)

COMPANY: Final = 2  # words on either side among which an ambiguous word looks for a crypto word

_QUOTES = "USDT|USDC|USD|EUR|PERP"
_TOKEN = re.compile(
    r"\$(?P<cashtag>[A-Za-z][A-Za-z0-9]{1,9})\b"
    rf"|(?<![\w$])(?P<base>[A-Z][A-Z0-9]{{1,9}}?)(?:[/-]?(?:{_QUOTES})|/(?:BTC|ETH))\b"
    r"|(?P<word>[^\W_]+(?:\.\d+)?)"
)
_PHRASES = {tuple(name.split()): asset for asset, names in NAMES.items() for name in names}
_LONGEST = max(map(len, _PHRASES))


class _Token(NamedTuple):
    text: str
    asset: str | None  # where it is certain
    length: int  # words of the text that it took


class AssetLinker:
    """Finds the assets of the catalogue, and others that it is told of.

    Args:
        assets: more tickers, in capitals. Each is taken for a word of some language: it counts
            as a cashtag, as a pair, or in capitals beside another crypto word.
    """

    def __init__(self, assets: Iterable[str] = ()) -> None:
        self._ambiguous = AMBIGUOUS_TICKERS | (frozenset(assets) - PLAIN_TICKERS)
        self._tickers = self._ambiguous | PLAIN_TICKERS | frozenset(NAMES)

    def links(self, text: str) -> Mapping[str, float]:
        """Asset → its share of the mentions in a normalised text; they add up to 1, or are none.

        >>> linker = AssetLinker()
        >>> linker.links("Bitcoin trades near $40k, one more time"), linker.links("$NEAR to $BTC")
        ({'BTC': 1.0}, {'BTC': 0.5, 'NEAR': 0.5})
        """
        shouted = text.upper() == text  # capitals tell nothing
        tokens = list(self._tokens(text, shouted=shouted))
        if not shouted:
            for position, token in enumerate(tokens):  # what is found is company for what follows
                if token.asset is None and (asset := self._by_company(tokens, position)):
                    tokens[position] = token._replace(asset=asset)
        mentions = Counter(token.asset for token in tokens if token.asset)
        total = sum(mentions.values())
        return {asset: mentions[asset] / total for asset in sorted(mentions)}

    def _tokens(self, text: str, *, shouted: bool) -> Iterable[_Token]:
        matches = list(_TOKEN.finditer(text))
        spelled = [match["word"].lower() if match["word"] else "" for match in matches]
        position = 0
        while position < len(matches):
            token = self._token(matches[position], spelled, position, shouted=shouted)
            yield token
            position += token.length

    def _token(
        self, match: re.Match[str], spelled: list[str], position: int, *, shouted: bool
    ) -> _Token:
        if explicit := match["cashtag"] or match["base"]:
            ticker = explicit.upper()
            return _Token(explicit, ticker if ticker in self._tickers else None, 1)
        word = match["word"]
        for length in range(_LONGEST, 0, -1):
            asset = _PHRASES.get(tuple(spelled[position : position + length]))
            if asset:
                return _Token(word, asset, length)
        return _Token(word, word if word in PLAIN_TICKERS and not shouted else None, 1)

    def _by_company(self, tokens: list[_Token], position: int) -> str | None:
        """The asset that an ambiguous word means beside a crypto word."""
        word = tokens[position].text
        asset = word if word in self._ambiguous else None
        if asset is None and word[:1].isupper():
            asset = AMBIGUOUS_NAMES.get(word.lower())
        if asset is None:
            return None
        neighbours = (
            tokens[max(0, position - COMPANY) : position]
            + tokens[position + 1 : position + 1 + COMPANY]
        )
        return asset if any(map(_is_crypto, neighbours)) else None


def _is_crypto(token: _Token) -> bool:
    return token.asset is not None or token.text.lower() in CRYPTO_WORDS
