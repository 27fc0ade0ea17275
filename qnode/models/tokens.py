"""From texts to tokens.

A text is cut into words, and each word becomes a token or nothing: folded to ASCII, lower-cased, left out if it is a
stopword, stemmed, left out if it is too short or too long; in this order. Tokens may repeat, and stand in the order of the
text.

    word          runs of letters and digits, as Unicode has them
    whitespace    what stands between white space
    prefix        words, and of each the n-grams that it begins with; what is asked for counts by its longest one alone, and
                  is never a stopword
    multilingual  words with their marks; where a script does without spaces (Chinese, Japanese, Thai, …) single characters
                  and pairs of neighbours

Invariant: a part of a text at the borders of words gives a part of its tokens, so whoever asks for what stands in a text
finds it. The word "part" means pairs of neighbours for scripts without spaces; no dictionary is asked where words end.

What an index holds was made by these functions: one that gives other tokens than before needs new indexes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from threading import Lock

import regex
import Stemmer

from qnode.models.ascii_folding import folded
from qnode.models.stopwords import stopwords_of
from qnode.models.text_settings import TextSettings

MAX_NGRAM_CHARS = 64
"""Longer beginnings of a word are no tokens: a text without spaces would have as many of them as it has letters."""

_REMEMBERED_WORDS = 1 << 16
_REMEMBERED_WORD_CHARS = 64
"""Words are looked up among those that were processed before; longer ones are not kept."""

_WORD = regex.compile(r"[\p{Alphabetic}\p{N}]+")
_NO_SPACE = regex.compile(r"[^\p{White_Space}]+")
_DENSE_SCRIPTS = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\p{Tibetan}"
_MIXED = regex.compile(
    rf"([[{_DENSE_SCRIPTS}ー]&&[\p{{Alphabetic}}\p{{N}}\p{{M}}ー]]+)"
    rf"|[[\p{{Alphabetic}}\p{{N}}\p{{M}}]--[{_DENSE_SCRIPTS}ー]]+",
    regex.V1,
)
_CHARACTER = regex.compile(r"\X")

_SNOWBALL_NAMES = {"dutch": "dutch_porter"}
"""Where the algorithm that Qdrant means by a language has another name by now."""

Tokens = Callable[[str], list[str]]
WordToken = Callable[[str], str | None]


class Tokenizer:
    """The three readings of a text under one set of settings; any thread may use it."""

    def __init__(self, settings: TextSettings) -> None:
        stop = _stopwords(settings)
        self._word = _processing(settings, stop)
        self.document: Tokens
        """The tokens of a stored text."""
        self.query: Tokens
        """The tokens that a text is asked for by, all of them or any."""
        self.phrase: Tokens
        """The tokens that a text is asked for by as a phrase."""
        if settings.tokenizer == "prefix":
            ngrams = _Ngrams(settings)
            asked = _processing(settings, frozenset())
            self.document = lambda text: ngrams.of(_tokens(_WORD.findall(text), self._word))
            self.query = self.phrase = lambda text: ngrams.longest(_tokens(_WORD.findall(text), asked))
        elif settings.tokenizer == "multilingual":
            self.document = self.phrase = lambda text: _tokens(_mixed(text, alone=True), self._word)
            self.query = lambda text: _tokens(_mixed(text, alone=False), self._word)
        else:
            pattern = _WORD if settings.tokenizer == "word" else _NO_SPACE
            self.document = self.query = self.phrase = lambda text: _tokens(pattern.findall(text), self._word)


@lru_cache(maxsize=64)
def tokenizer_of(settings: TextSettings) -> Tokenizer:
    """Give the tokenizer of these settings."""
    return Tokenizer(settings)


def _tokens(words: Iterable[str], token_of: WordToken) -> list[str]:
    return [token for word in words if (token := token_of(word)) is not None]


def _stopwords(settings: TextSettings) -> frozenset[str]:
    words = frozenset(settings.custom)
    if settings.lowercase:
        words = frozenset(word.lower() for word in words)
    return words | stopwords_of(settings.languages)


def _processing(settings: TextSettings, stop: frozenset[str]) -> WordToken:
    """Make the function from a word to its token."""
    fold, lower = settings.ascii_folding, settings.lowercase
    stem = None if settings.stemmer is None else _stemming(settings.stemmer)
    shortest = settings.min_token_len or 0
    longest = settings.max_token_len if settings.tokenizer != "prefix" else None

    def processed(word: str) -> str | None:
        if fold:
            word = folded(word)
        if lower:
            word = word.lower()
        if word in stop:
            return None
        if stem is not None:
            word = stem(word)
        if not word or len(word) < shortest or (longest is not None and len(word) > longest):
            return None
        return word

    remembered = lru_cache(maxsize=_REMEMBERED_WORDS)(processed)
    return lambda word: remembered(word) if len(word) <= _REMEMBERED_WORD_CHARS else processed(word)


def _stemming(language: str) -> Callable[[str], str]:
    # The library's own cache is off, since words are remembered as a whole. An algorithm works on one word at a time.
    algorithm = Stemmer.Stemmer(_SNOWBALL_NAMES.get(language, language), 0)
    lock = Lock()

    def stem(word: str) -> str:
        with lock:
            stemmed: str = algorithm.stemWord(word)
        return stemmed

    return stem


class _Ngrams:
    """Beginnings of words, from `min_token_len` to `max_token_len` characters; of shorter words the whole word."""

    def __init__(self, settings: TextSettings) -> None:
        self._longest = min(settings.max_token_len or MAX_NGRAM_CHARS, MAX_NGRAM_CHARS)
        self._shortest = settings.min_token_len or 1

    def of(self, words: list[str]) -> list[str]:
        return [
            word[:chars]
            for word in words
            for chars in range(min(self._shortest, self._longest), min(len(word), self._longest) + 1)
        ]

    def longest(self, words: list[str]) -> list[str]:
        return [word[: self._longest] for word in words]


def _mixed(text: str, *, alone: bool) -> list[str]:
    """Cut a text of any scripts; `alone`: characters of scripts without spaces also by themselves."""
    if text.isascii():
        words: list[str] = _WORD.findall(text)
        return words
    words = []
    for match in _MIXED.finditer(text):
        if match[1] is None:
            words.append(match[0])
            continue
        characters = _CHARACTER.findall(match[0])
        for at, character in enumerate(characters):
            if alone or len(characters) == 1:
                words.append(character)
            if at + 1 < len(characters):
                words.append(character + characters[at + 1])
    return words
