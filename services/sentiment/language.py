"""Whether a text is English, as far as its letters and function words tell."""

from __future__ import annotations

from typing import Final

from services.sentiment.words import listed, words

ENGLISH: Final = "en"
FOREIGN: Final = "other"
UNDETERMINED: Final = "und"  # ISO 639's code: a few words that many languages could use

_ENGLISH_WORDS = listed(
    "the and of to is are was were be been it its it's this that these those for with from by at "
    "on in you your they their we our he she his her will would can could should have has had not "
    "don't isn't as but or if than then when what why how who which after before about into over "
    "up out more most just only now amid an my i'm been says"
)
# Of Spanish, Portuguese, French, Italian, German, Dutch, Turkish, Polish, Indonesian and
# Vietnamese; none is also an English word.
_FOREIGN_WORDS = listed(
    "el la los las del una por para con que pero este esta está muy más como sus os das uma não "
    "mas também são dos pelo pela le les des une est dans pour avec sur qui pas cette mais aux au "
    "être il gli della delle di che per sono anche nel der das und ist ein eine nicht mit auf für "
    "von dem den auch wird sich het een van niet voor zijn deze ook wordt bir ve bu için ile "
    "olarak daha nie jest się na że jak dla yang dan ini itu untuk dengan dari akan pada của và "
    "là cho không được"
)
LEAST: Final = 2  # foreign function words; «El Salvador» and «Los Angeles» have one


def language(text: str) -> str:
    """The language of normalised text: `en`, `other`, or `und` where it cannot be told.

    >>> language("The price of bitcoin is falling"), language("El precio de la moneda cae")
    ('en', 'other')
    """
    letters = [character for character in text if character.isalpha()]
    latin = sum(character < "\u0250" for character in letters)
    if 2 * latin < len(letters):
        return FOREIGN
    found = words(text)
    english = sum(word in _ENGLISH_WORDS for word in found)
    foreign = sum(word in _FOREIGN_WORDS for word in found)
    if foreign >= LEAST and foreign > english:
        return FOREIGN
    return ENGLISH if english else UNDETERMINED
