"""The built-in model `qdrant/bm25`: a text as a sparse vector, for a field whose modifier is `idf`.

A token's index is the absolute value of its MurmurHash3 (32 bits, seed 0). A document's weight of a token is the part of BM25
that the document knows by itself; how rare a token is, the collection knows (Robertson and Zaragoza, The Probabilistic
Relevance Framework, section 3). A query's weights are 1. Tokens that meet in one index count as one.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from functools import lru_cache

import mmh3
import numpy as np
import numpy.typing as npt

from qnode.errors import MalformedBody
from qnode.models import reading
from qnode.models.stopwords import LANGUAGES
from qnode.models.text_settings import READERS, STEMMED_LANGUAGES, TextSettings, settings_of
from qnode.models.tokens import tokenizer_of

MODEL = "qdrant/bm25"

_DEFAULT_LANGUAGE = "english"
_NO_LANGUAGE = "none"

Weights = tuple[npt.NDArray[np.uint32], npt.NDArray[np.float32]]
"""(nnz,) indices, ascending and distinct, and (nnz,) weights."""


@dataclass(frozen=True, slots=True)
class Bm25:
    """`k`: how soon a repeated token adds little more; `b`: how far long texts count less; `average_tokens`: of a text."""

    text: TextSettings
    k: float = 1.2
    b: float = 0.75
    average_tokens: float = 256.0

    def document(self, text: str) -> Weights:
        """Weigh a text that is stored."""
        tokens = tokenizer_of(self.text).document(text)
        counts = Counter(map(_index_of, tokens))
        indices = np.array(sorted(counts), np.uint32)
        frequency = np.array([counts[index] for index in indices.tolist()], np.float64)
        length = 1 - self.b + self.b * len(tokens) / self.average_tokens
        return indices, (frequency * (self.k + 1) / (frequency + self.k * length)).astype(np.float32)

    def query(self, text: str) -> Weights:
        """Weigh a text that is asked for."""
        indices = np.array(sorted(set(map(_index_of, tokenizer_of(self.text).query(text)))), np.uint32)
        return indices, np.ones(len(indices), np.float32)


@lru_cache(maxsize=1 << 16)
def _index_of(token: str) -> int:
    return abs(mmh3.hash(token))


def _positive(value: object) -> float:
    number = reading.number(value)
    if number <= 0:
        raise MalformedBody(f"invalid value: floating point `{number}`, expected a number above 0")
    return number


def _not_negative(value: object) -> float:
    number = reading.number(value)
    if number < 0:
        raise MalformedBody(f"invalid value: floating point `{number}`, expected a number of 0 or more")
    return number


_OPTIONS: dict[str, reading.Reader] = {
    **READERS,
    "k": _not_negative,
    "b": _not_negative,
    "avg_len": _positive,
    "language": reading.text,
}


def parse_bm25(options: object) -> Bm25:
    """Read the `options` of a document; raise MalformedBody for what they cannot be.

    A language stands for its stopwords and its stemmer, unless these are given themselves.
    """
    given = {} if options is None else reading.fields(options, _OPTIONS, "struct Bm25Config")
    language = given.get("language", _DEFAULT_LANGUAGE)
    if language not in (*LANGUAGES, *STEMMED_LANGUAGES, _NO_LANGUAGE):
        raise MalformedBody(f"Unsupported language: {language[:100]}")
    settings = settings_of(given)
    if "stopwords" not in given and language in LANGUAGES:
        settings = replace(settings, languages=(language,))
    if "stemmer" not in given and language in STEMMED_LANGUAGES:
        settings = replace(settings, stemmer=language)
    return Bm25(settings, given.get("k", 1.2), given.get("b", 0.75), given.get("avg_len", 256.0))
