"""Some texts and what stands in for models of them: counts of words, so that what is near is known without any model."""

from __future__ import annotations

import numpy as np

WORDS = ("cat", "dog", "bird", "sleeps", "runs", "sings", "house", "garden")
TEXTS = {
    "cat sleeps house": "home",
    "cat sleeps house cat": "home",
    "cat runs garden": "outside",
    "dog sleeps house": "home",
    "dog runs garden": "outside",
    "bird sings garden": "outside",
    "bird sings house": "home",
}
"""Each with the place that it tells of."""


def dense(text: str) -> list[float]:
    """How often each word is in the text, each with a weight of its own, so that no two likenesses are equal."""
    said = text.split()
    return [said.count(word) * (1 + place / 16) + 0.01 for place, word in enumerate(WORDS)]


def sparse(text: str) -> tuple[list[int], list[float]]:
    """The words of the text as indices, and their shares of its weight."""
    said = text.split()
    found = [place for place, word in enumerate(WORDS) if word in said]
    weights = [said.count(WORDS[place]) * (1 + place / 16) for place in found]
    return found, [weight / sum(weights) for weight in weights]


def nearest(query: str, limit: int, place: str | None = None) -> list[str]:
    """The texts, of a place if one is given, whose cosine to the query is largest."""
    chosen = [text for text, told in TEXTS.items() if place in (None, told)]
    return sorted(chosen, key=lambda text: -likeness(query, text))[:limit]


def likeness(query: str, text: str) -> float:
    """The cosine between two texts."""
    one, other = np.array(dense(query)), np.array(dense(text))
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))


def nearest_by_words(query: str, limit: int) -> list[str]:
    """The texts that share words with the query, by their sparse vectors."""
    scores = {text: words_in_common(query, text) for text in TEXTS}
    return sorted((text for text in TEXTS if scores[text]), key=lambda text: -scores[text])[:limit]


def words_in_common(query: str, text: str) -> float:
    """The inner product of two sparse vectors."""
    own, other = dict(zip(*sparse(query), strict=True)), dict(zip(*sparse(text), strict=True))
    return sum(weight * other.get(place, 0.0) for place, weight in own.items())
