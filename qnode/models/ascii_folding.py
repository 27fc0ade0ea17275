"""Latin letters without their accents: "ação" becomes "acao".

What Unicode takes apart into a letter and marks loses the marks; letters that are no such pair (ø, ß, þ) have the spelling
that readers expect. Letters of other scripts stay as they are: this is no transliteration.
"""

from __future__ import annotations

import unicodedata

_RANGES = ((0x00A0, 0x0250), (0x1D00, 0x1F00), (0x2000, 0x2190), (0x2460, 0x2500), (0x2C60, 0x2C80), (0xA720, 0xA800),
           (0xFB00, 0xFB07), (0xFF01, 0xFF5F))  # fmt: skip
"""Where Latin letters, digits and punctuation beyond ASCII stand."""

_SPELLINGS = {
    "ß": "ss", "ẞ": "SS", "æ": "ae", "Æ": "AE", "œ": "oe", "Œ": "OE", "ø": "o", "Ø": "O", "đ": "d", "Đ": "D", "ð": "d",
    "Ð": "D", "þ": "th", "Þ": "TH", "ł": "l", "Ł": "L", "ħ": "h", "Ħ": "H", "ı": "i", "ĸ": "q", "ŋ": "n", "Ŋ": "N",
    "ŧ": "t", "Ŧ": "T", "ƀ": "b", "Ɓ": "B", "Ƈ": "C", "ƈ": "c", "Ɖ": "D", "Ɗ": "D", "ƌ": "d", "Ƒ": "F", "ƒ": "f",
    "Ɠ": "G", "Ɨ": "I", "Ƙ": "K", "ƙ": "k", "ƚ": "l", "Ɲ": "N", "ƞ": "n", "Ƥ": "P", "ƥ": "p", "ƫ": "t", "Ƭ": "T",
    "ƭ": "t", "Ʈ": "T", "Ʋ": "V", "Ƴ": "Y", "ƴ": "y", "Ƶ": "Z", "ƶ": "z", "ǥ": "g", "Ǥ": "G", "ȥ": "z", "Ȥ": "Z",
    "ȷ": "j", "Ⱥ": "A", "Ȼ": "C", "ȼ": "c", "Ƚ": "L", "Ⱦ": "T", "Ƀ": "B", "Ɇ": "E", "ɇ": "e", "Ɉ": "J", "ɉ": "j",
    "Ɍ": "R", "ɍ": "r", "Ɏ": "Y", "ɏ": "y", "ⱥ": "a", "ⱦ": "t",
    "‐": "-", "‑": "-", "‒": "-", "–": "-", "—": "-", "‘": "'", "’": "'", "‚": "'", "‛": "'", "“": '"', "”": '"',
    "„": '"', "«": '"', "»": '"', "‹": "'", "›": "'",
}  # fmt: skip


def _decomposed(character: str) -> str | None:
    parts = unicodedata.normalize("NFKD", character)
    bare = "".join(part for part in parts if not unicodedata.combining(part))
    return bare if bare and bare != character and bare.isascii() and not bare.isspace() else None


def _table() -> dict[int, str]:
    folded = {code: _decomposed(chr(code)) for first, end in _RANGES for code in range(first, end)}
    letters = {code: bare for code, bare in folded.items() if bare is not None}
    return letters | {ord(character): spelling for character, spelling in _SPELLINGS.items()}


_FOLDED = _table()


def folded(text: str) -> str:
    """Write a text with ASCII letters, as far as its letters are Latin."""
    return text if text.isascii() else text.translate(_FOLDED)
