"""Text as sources send it → plain text, and its words."""

from __future__ import annotations

import html
import re
import unicodedata
from typing import Final

LONGEST: Final = 5_000  # characters that are read; scoring time is bounded by it

_TAG = re.compile(r"<[A-Za-z/!][^>]*>")
_MARKDOWN_LINK = re.compile(r"\[([^\]]*)\]\([^)\s]*\)")
_ADDRESS = re.compile(
    r"(?:https?://|www\.)\S+"  # a URL
    r"|\S+@\w[\w-]*\.\w\S*"  # a mail address
    r"|\b(?:[\w-]+\.)+[A-Za-z]{2,}/\S*"  # a URL without a scheme
)
_PERSON = re.compile(r"(?<![\w/])(?:@\w+|/?u/[\w-]+)")
_QUOTES = str.maketrans({"‘": "'", "’": "'", "“": '"', "”": '"'})  # noqa: RUF001 - what is replaced
_WORD = re.compile(r"[^\W\d_][\w']*\w")  # from two characters on, a letter first


def normalise(text: str) -> str:
    """Plain text: no markup, no addresses, no user names, one form for each character.

    >>> normalise("<p>&#8220;HODL&#8221; &mdash; says @satoshi, u/hal https://example.org/x</p>")
    '"HODL" — says ,'
    """
    text = html.unescape(text[: 4 * LONGEST])
    text = _MARKDOWN_LINK.sub(r"\1", _TAG.sub(" ", text))
    text = unicodedata.normalize("NFKC", text).translate(_QUOTES)
    text = _PERSON.sub(" ", _ADDRESS.sub(" ", text))
    visible = "".join(character for character in text if not _is_invisible(character))
    return " ".join(visible.split())[:LONGEST]


def _is_invisible(character: str) -> bool:
    """Control and format characters, white space aside."""
    return unicodedata.category(character) in {"Cc", "Cf"} and not character.isspace()


def words(text: str) -> list[str]:
    """The words of normalised text in lower case; numbers are no words.

    >>> words("Don't sell 2 BTC at $100k!")
    ["don't", 'sell', 'btc', 'at']
    """
    return _WORD.findall(text.lower())


def listed(text: str) -> frozenset[str]:
    """The words of a list that is written as text."""
    return frozenset(text.split())
