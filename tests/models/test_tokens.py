from typing import Any

import pytest
from qdrant_client.local.payload_filters import unindexed_text_tokens

from qnode.models.ascii_folding import folded
from qnode.models.stopwords import LANGUAGES, stopwords_of
from qnode.models.text_settings import STEMMED_LANGUAGES, TextSettings
from qnode.models.tokens import MAX_NGRAM_CHARS, tokenizer_of


def document(text: str, tokenizer: str = "word", **settings: Any) -> list[str]:
    return tokenizer_of(TextSettings(tokenizer, **settings)).document(text)


def query(text: str, tokenizer: str = "word", **settings: Any) -> list[str]:
    return tokenizer_of(TextSettings(tokenizer, **settings)).query(text)


@pytest.mark.parametrize(
    ("tokenizer", "text", "tokens"),
    [
        ("word", "Hello, quick_brown wörld-3.14!", ["hello", "quick", "brown", "wörld", "3", "14"]),
        ("word", "", []),
        ("word", " \t-!", []),
        ("word", "नमस्ते x²", ["नमस", "ते", "x²"]),
        ("whitespace", "Hello, quick_brown\u00a0wörld\n3.14!", ["hello,", "quick_brown", "wörld", "3.14!"]),
        ("whitespace", "a\x1cb", ["a\x1cb"]),
        ("multilingual", "Hello, नमस्ते दुनिया", ["hello", "नमस्ते", "दुनिया"]),
        ("multilingual", "go北京大", ["go", "北", "北京", "京", "京大", "大"]),
        ("multilingual", "日 ラーメン", ["日", "ラ", "ラー", "ー", "ーメ", "メ", "メン", "ン"]),
        ("prefix", "Hey you", ["h", "he", "hey", "y", "yo", "you"]),
    ],
)
def test_a_text_is_cut_as_its_tokenizer_cuts(tokenizer: str, text: str, tokens: list[str]) -> None:
    assert document(text, tokenizer) == tokens


def test_words_are_those_of_the_client_library() -> None:
    for text in ("It's 5 o'clock", "a_b c-d", "ÀÉ ß straße", "привет, мир", "x1y2", "東京 tower"):
        assert document(text) == unindexed_text_tokens(text)


def test_the_steps_come_in_their_order() -> None:
    assert document("Ação", ascii_folding=True) == ["acao"]
    assert document("Ação ação") == ["ação", "ação"]
    assert document("The Cats the", lowercase=False, languages=("english",)) == ["The", "Cats"]
    assert document("The Cats the", languages=("english",)) == ["cats"]
    assert document("Foo foo bar", custom=("FOO",)) == ["bar"]
    assert document("Foo foo FOO", custom=("FOO",), lowercase=False) == ["Foo", "foo"]
    assert document("the running cats", languages=("english",), stemmer="english") == ["run", "cat"]
    # A stopword is looked for before the stemmer, a length after it.
    assert document("having hav", custom=("hav",), stemmer="english") == ["have"]
    assert document("running a ab", stemmer="english", min_token_len=3) == ["run"]
    assert document("a bb ccc ñññ", min_token_len=2, max_token_len=2) == ["bb"]


def test_ngrams_are_the_beginnings_of_words_within_the_lengths() -> None:
    assert document("Hello it a", "prefix", min_token_len=2, max_token_len=4) == ["he", "hel", "hell", "it"]
    assert query("Hello it a", "prefix", min_token_len=2, max_token_len=4) == ["hell", "it"]
    assert query("Hello wor", "prefix") == ["hello", "wor"]


def test_a_word_that_is_asked_for_by_its_beginning_is_no_stopword() -> None:
    assert document("the theory", "prefix", languages=("english",), min_token_len=3) == [
        "the",
        "theo",
        "theor",
        "theory",
    ]
    assert query("the", "prefix", languages=("english",)) == ["the"]


def test_ngrams_of_a_long_word_end() -> None:
    word = "x" * 10_000
    assert document(word, "prefix") == [word[:chars] for chars in range(1, MAX_NGRAM_CHARS + 1)]
    assert query(word, "prefix") == [word[:MAX_NGRAM_CHARS]]


def test_neighbours_are_asked_for_in_scripts_without_spaces() -> None:
    assert query("北京大学", "multilingual") == ["北京", "京大", "大学"]
    assert query("京", "multilingual") == ["京"]
    assert set(query("大学 tokyo", "multilingual")) <= set(document("北京大学 Tokyo", "multilingual"))
    assert not set(query("北大", "multilingual")) <= set(document("北京大学", "multilingual"))


@pytest.mark.parametrize(
    ("language", "word", "stem"),
    [
        ("english", "connections", "connect"),
        ("german", "häuser", "haus"),
        ("french", "continuellement", "continuel"),
        ("russian", "книгами", "книг"),
        ("spanish", "corriendo", "corr"),
        ("turkish", "kitaplar", "kitap"),
        ("dutch", "lichamelijk", "licham"),
    ],
)
def test_a_word_is_stemmed_in_its_language(language: str, word: str, stem: str) -> None:
    assert document(word, stemmer=language) == [stem]


@pytest.mark.parametrize("language", STEMMED_LANGUAGES)
def test_every_language_of_the_api_has_a_stemmer(language: str) -> None:
    assert len(document("word слово λόγος كلمة", stemmer=language)) == 4


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language_of_the_api_has_stopwords_that_a_text_is_cut_into(language: str) -> None:
    words = stopwords_of([language])
    assert len(words) > 60
    assert all(word == word.lower() for word in words)


@pytest.mark.parametrize(
    ("language", "text", "left"),
    [
        ("english", "What is the matter with you", ["matter"]),
        ("german", "Das ist nicht der Zug zum Haus", ["zug", "haus"]),
        ("french", "Le chat est sur la table", ["chat", "table"]),
        ("spanish", "El perro está en la casa", ["perro", "casa"]),
        ("russian", "Я не был в Москве", ["москве"]),
    ],
)
def test_stopwords_leave_what_a_text_is_about(language: str, text: str, left: list[str]) -> None:
    assert document(text, languages=(language,)) == left


def test_folding_changes_latin_letters_alone() -> None:
    assert folded("Ærøskøbing Łódź Straße ﬁn Ａ１ naïve ế") == "AEroskobing Lodz Strasse fin A1 naive e"
    assert folded("Привет κόσμε 東京 حب") == "Привет κόσμε 東京 حب"
