"""Text conditions where the field has a text index: what they mean, as tokens.

A filter says `text`, `text_any` or `phrase`; whether that means tokens, and of which tokenizer, the indexes of the moment
decide. So whoever evaluates a filter first writes it anew for the indexes (`tokenized`): what depends on settings carries them
from then on, in evaluation and as the key of a cache. Text that gives no tokens matches nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from qnode.models.filter import (
    Condition,
    FieldCondition,
    Filter,
    Match,
    MatchPhrase,
    MatchText,
    MatchTextAny,
    MatchTokens,
    MinShould,
    Nested,
)
from qnode.models.text_settings import TextSettings
from qnode.models.tokens import tokenizer_of

Settings = Mapping[str, TextSettings]
"""The settings of the text indexes, by the path of their field."""


def tokenized(chosen: Filter, indexes: Settings, within: str = "") -> Filter:
    """Write the text conditions of a filter as these indexes read them; `within`: the path that `nested` stands at."""
    if not indexes:
        return chosen
    counted = chosen.min_should
    return Filter(
        _all(chosen.must, indexes, within),
        _all(chosen.should, indexes, within),
        _all(chosen.must_not, indexes, within),
        counted and MinShould(_all(counted.conditions, indexes, within), counted.min_count),
    )


def _all(conditions: tuple[Condition, ...], indexes: Settings, within: str) -> tuple[Condition, ...]:
    return tuple([_one(condition, indexes, within) for condition in conditions])


def _one(condition: Condition, indexes: Settings, within: str) -> Condition:
    match condition:
        case Filter():
            return tokenized(condition, indexes, within)
        case Nested():
            elements = within + condition.path.text.removesuffix("[]") + "[]."
            return replace(condition, filter=tokenized(condition.filter, indexes, elements))
        case FieldCondition(match=MatchText() | MatchTextAny() | MatchPhrase()):
            settings = indexes.get(within + condition.path.text)
            return condition if settings is None else replace(condition, match=_as_tokens(condition.match, settings))
    return condition


def _as_tokens(match: Match | None, settings: TextSettings) -> MatchTokens:
    match match:
        case MatchText():
            return MatchTokens("all", match.text, settings)
        case MatchTextAny():
            return MatchTokens("any", match.text, settings)
        case MatchPhrase():
            return MatchTokens("phrase", match.phrase, settings)
    raise AssertionError("no text condition")


def wanted_tokens(match: MatchTokens) -> list[str]:
    """Give the tokens that a text is asked for by; none: it matches nothing."""
    tokenizer = tokenizer_of(match.settings)
    if match.how == "phrase":
        return tokenizer.phrase(match.text) if match.settings.phrases else []
    return list(dict.fromkeys(tokenizer.query(match.text)))


def tokens_test(match: MatchTokens) -> Callable[[Any], bool]:
    """Make the test of a single stored value."""
    wanted = wanted_tokens(match)
    if not wanted:
        return lambda value: False
    tokens_of, each = tokenizer_of(match.settings).document, frozenset(wanted)
    if match.how == "any":
        return lambda value: type(value) is str and not each.isdisjoint(tokens_of(value))
    if match.how == "all" or len(wanted) == 1:
        return lambda value: type(value) is str and each.issubset(tokens_of(value))

    def holds_phrase(value: Any) -> bool:
        if type(value) is not str:
            return False
        tokens = tokens_of(value)
        return any(tokens[at : at + len(wanted)] == wanted for at, token in enumerate(tokens) if token == wanted[0])

    return holds_phrase
