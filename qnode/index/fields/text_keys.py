"""The keys of a text index: what is kept of the texts of one point.

    TOKEN           a token of one of the texts
    PAIR            two tokens that follow each other in one text; kept if phrases can be asked for
    SEVERAL_TEXTS   no value: the point has tokens in more than one text

A condition holds if one text alone passes it. Where a point has several, tokens that are all there need not be in the
same one; so such points are marked, and looked at. Long tokens and pairs are kept as their beginning and a digest.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from qnode.index.fields.keys import SHORT_KEYWORD_BYTES, Tag, shortened, tag_prefix
from qnode.models.text_settings import TextSettings
from qnode.models.tokens import tokenizer_of

_BETWEEN = b"\xff"
"""Stands in no text in UTF-8."""


class TextKeys:
    """Makes the keys of one text index."""

    def __init__(self, settings: TextSettings, field_id: int) -> None:
        self._tokens_of = tokenizer_of(settings).document
        self._phrases = settings.phrases
        self._token = tag_prefix(field_id, Tag.TOKEN)
        self._long_token = tag_prefix(field_id, Tag.LONG_TOKEN)
        self._pair = tag_prefix(field_id, Tag.PAIR)
        self._long_pair = tag_prefix(field_id, Tag.LONG_PAIR)
        self.several = tag_prefix(field_id, Tag.SEVERAL_TEXTS)

    def of(self, elements: Sequence[Any]) -> tuple[bytes, ...]:
        """List the keys of a field's values, each once, in order."""
        keys: set[bytes] = set()
        texts = 0
        for element in elements:
            tokens = self._tokens_of(element) if type(element) is str else ()
            if not tokens:
                continue
            texts += 1
            keys.update(map(self.token, tokens))
            if self._phrases:
                keys.update(map(self.pair, tokens, tokens[1:]))
        if texts > 1:
            keys.add(self.several)
        return tuple(sorted(keys))

    def token(self, token: str) -> bytes:
        """Give the key of a token."""
        text = token.encode("utf-8", "surrogatepass")
        return self._token + text if len(text) <= SHORT_KEYWORD_BYTES else self._long_token + shortened(text)

    def pair(self, first: str, second: str) -> bytes:
        """Give the key of two tokens that follow each other."""
        text = first.encode("utf-8", "surrogatepass") + _BETWEEN + second.encode("utf-8", "surrogatepass")
        return self._pair + text if len(text) <= SHORT_KEYWORD_BYTES else self._long_pair + shortened(text)
