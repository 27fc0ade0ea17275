"""How a text becomes tokens: the settings of a text index or of a model, read from JSON.

What is not given has its default; a null means "not given". Sets are kept in order and each once, as they are echoed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from qnode.models import reading
from qnode.models.stopwords import LANGUAGES

TOKENIZERS = ("prefix", "whitespace", "word", "multilingual")
DEFAULT_TOKENIZER = "word"

STEMMED_LANGUAGES = (
    "arabic", "armenian", "danish", "dutch", "english", "finnish", "french", "german", "greek", "hungarian", "italian",
    "norwegian", "portuguese", "romanian", "russian", "spanish", "swedish", "tamil", "turkish",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class TextSettings:
    """Hashable, so it can be part of a filter and the key of a cache.

    `languages` are those whose stopwords are left out, `custom` further words; `stemmer` is a language or None. Lengths count
    characters. `phrases`: whether phrases can be asked for.
    """

    tokenizer: str = DEFAULT_TOKENIZER
    lowercase: bool = True
    ascii_folding: bool = False
    languages: tuple[str, ...] = ()
    custom: tuple[str, ...] = ()
    stemmer: str | None = None
    min_token_len: int | None = None
    max_token_len: int | None = None
    phrases: bool = False


def stopwords(value: object) -> str | dict[str, list[str]]:
    """Read a language, or sets of languages and of words."""
    if isinstance(value, str):
        return _language(value)
    return reading.fields(value, {"languages": _languages, "custom": _words}, "a language or struct StopwordsSet")


def _language(value: object) -> str:
    name = reading.text(value)
    if name not in LANGUAGES:
        raise reading.unknown_variant(name, LANGUAGES)
    return name


def _languages(value: object) -> list[str]:
    return sorted({_language(language) for language in reading.texts(value)})


def _words(value: object) -> list[str]:
    return sorted(set(reading.texts(value)))


def stemmer(value: object) -> dict[str, str]:
    """Read `{"type": "snowball", "language": …}` or `{"type": "none"}`."""
    given = reading.mapping(value, "a stemming algorithm")
    kind = _stemming(reading.required(given, "type"))
    if kind == "none":
        return {"type": kind}
    return {"type": kind, "language": _stemmed_language(reading.required(given, "language"))}


_stemmed_language = reading.one_of(*STEMMED_LANGUAGES)
_stemming = reading.one_of("snowball", "none")

READERS: dict[str, reading.Reader] = {
    "tokenizer": reading.one_of(*TOKENIZERS),
    "min_token_len": reading.unsigned,
    "max_token_len": reading.unsigned,
    "lowercase": reading.boolean,
    "ascii_folding": reading.boolean,
    "stopwords": stopwords,
    "stemmer": stemmer,
}
"""What a text index and a model have in common, by the names that they have in JSON."""


def settings_of(params: Mapping[str, Any]) -> TextSettings:
    """Make the settings of parameters that the readers have read."""
    words = params.get("stopwords", {})
    sets = {"languages": [words]} if isinstance(words, str) else words
    return TextSettings(
        params.get("tokenizer", DEFAULT_TOKENIZER),
        params.get("lowercase", True),
        params.get("ascii_folding", False),
        tuple(sets.get("languages", ())),
        tuple(sets.get("custom", ())),
        params.get("stemmer", {}).get("language"),
        params.get("min_token_len"),
        params.get("max_token_len"),
        params.get("phrase_matching", False),
    )
