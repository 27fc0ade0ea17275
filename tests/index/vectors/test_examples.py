"""Searches by several examples against the formulas, spelled out in numpy."""

import numpy as np
import pytest

from qnode.index.vectors import prepare, prepare_query
from qnode.index.vectors.scoring import to_stored
from qnode.models.query import Examples, ExamplesKind, QuantizationParams
from qnode.models.vector_params import Datatype, Distance, Quantization, QuantizationKind
from tests.index.vectors.common import AS_SET, growing_of, params_of, sealed_of, vectors_for

SIZE = 24
ROWS = 1500
DISTANCES = list(Distance)
KINDS = list(ExamplesKind)


def examples_of(kind, params, *, positives=3, negatives=2, pairs=2, seed=3) -> Examples:
    drawn = iter(vectors_for(params, 20, seed))
    if kind in (ExamplesKind.BEST_SCORE, ExamplesKind.SUM_SCORES):
        return Examples(
            kind,
            positive=tuple(next(drawn) for _ in range(positives)),
            negative=tuple(next(drawn) for _ in range(negatives)),
        )
    paired = tuple((next(drawn), next(drawn)) for _ in range(pairs))
    if kind is ExamplesKind.CONTEXT:
        return Examples(kind, pairs=paired)
    weights = tuple(0.3 + 0.2 * at for at in range(pairs)) if kind is ExamplesKind.FEEDBACK else ()
    weight = 0.7 if kind is ExamplesKind.FEEDBACK else 1.0
    return Examples(kind, target=next(drawn), pairs=paired, target_weight=weight, pair_weights=weights)


def similarities(segment, vector: np.ndarray) -> np.ndarray:
    """Of every row to one vector, (rows,) float32, as a search for that vector alone has them."""
    return segment.score(prepare_query(segment.params, vector), np.arange(segment.rows))


def expected(segment, examples: Examples) -> np.ndarray:
    """The score of every row, each step in float32."""
    one, half = np.float32(1), np.float32(0.5)

    def soft(x):
        return x / (one + np.abs(x))

    def squash(x):
        return half * (soft(x) + one)

    def to(vector):
        return similarities(segment, vector)

    nothing = np.zeros(segment.rows, np.float32)
    lowest = np.full(segment.rows, -np.inf, np.float32)
    positive, negative = [to(vector) for vector in examples.positive], [to(vector) for vector in examples.negative]
    pairs = [(to(good), to(bad)) for good, bad in examples.pairs]
    match examples.kind:
        case ExamplesKind.BEST_SCORE:
            near, bad = np.max([lowest, *positive], axis=0), np.max([lowest, *negative], axis=0)
            with np.errstate(invalid="ignore"):
                return np.where(near > bad, squash(near), -squash(bad))
        case ExamplesKind.SUM_SCORES:
            return sum(positive, nothing) - sum(negative, nothing)
        case ExamplesKind.DISCOVER:
            rank = sum((np.sign(good - bad) for good, bad in pairs), nothing)
            return rank + squash(to(examples.target))
        case ExamplesKind.CONTEXT:
            margin = np.float32(2.0**-23)
            return sum((soft(np.minimum(good - bad - margin, 0)) for good, bad in pairs), nothing)
        case ExamplesKind.FEEDBACK:
            total = np.float32(examples.target_weight) * to(examples.target)
            for (good, bad), weight in zip(pairs, examples.pair_weights, strict=True):
                total = total + np.float32(weight) * (good - bad)
            return total


def best_of(segment, examples, k=10, *, ef=64, alive=None, selected=None, exact=False, quantization=AS_SET):
    query = prepare(segment.params, examples)
    alive = np.ones(segment.rows, np.bool_) if alive is None else alive
    count = segment.rows if selected is None else int(selected.sum())
    return segment.search(query, k, ef, alive, selected, count, exact=exact, quantization=quantization)


@pytest.mark.parametrize("datatype", list(Datatype))
@pytest.mark.parametrize("distance", DISTANCES)
def test_a_scan_gives_the_scores_of_the_formulas_bit_by_bit(tmp_path, distance, datatype):
    params = params_of(SIZE, distance, datatype=datatype)
    segment = growing_of(tmp_path / "growing", params, vectors_for(params, 200, seed=1))
    for kind in KINDS:
        examples = examples_of(kind, params)
        scores, rows = best_of(segment, examples, 200)
        assert sorted(rows.tolist()) == list(range(200))
        wanted = expected(segment, examples)
        assert wanted.dtype == np.float32
        assert scores.tolist() == wanted[rows].tolist(), kind
        assert (np.diff(scores) <= 0).all()


@pytest.mark.parametrize(("positives", "negatives"), [(1, 0), (0, 2), (4, 0)])
@pytest.mark.parametrize("kind", [ExamplesKind.BEST_SCORE, ExamplesKind.SUM_SCORES])
def test_examples_of_one_sign_alone_are_enough(tmp_path, kind, positives, negatives):
    params = params_of(SIZE, Distance.EUCLID)
    segment = growing_of(tmp_path / "growing", params, vectors_for(params, 200, seed=1))
    examples = examples_of(kind, params, positives=positives, negatives=negatives)
    scores, rows = best_of(segment, examples, 20)
    wanted = expected(segment, examples)
    assert scores.tolist() == np.sort(wanted)[::-1][:20].tolist() == wanted[rows].tolist()


def test_similarities_to_one_example_are_those_of_brute_force(tmp_path):
    for distance in DISTANCES:
        params = params_of(SIZE, distance)
        vectors = vectors_for(params, 100, seed=1)
        segment = growing_of(tmp_path / distance.value, params, vectors)
        query = to_stored(vectors_for(params, 1, seed=2)[0], params.datatype).astype(np.float64)
        other = vectors.astype(np.float64)
        exact = {
            Distance.DOT: other @ query,
            Distance.COSINE: other @ query,
            Distance.EUCLID: -((other - query) ** 2).sum(axis=1),
            Distance.MANHATTAN: -np.abs(other - query).sum(axis=1),
        }[distance]
        assert np.allclose(similarities(segment, query.astype(np.float32)), exact, rtol=1e-5, atol=1e-5)


@pytest.fixture(scope="module", params=DISTANCES, ids=[distance.value for distance in DISTANCES])
def sealed(request, tmp_path_factory):
    params = params_of(64, request.param, ef_construct=64)
    return sealed_of(tmp_path_factory.mktemp("sealed"), params, vectors_for(params, 6000, seed=5))


def recall(segment, kind, **options) -> float:
    """The share of the exact best ten that are found, or are as good."""
    hits = []
    for seed in range(12):
        examples = examples_of(kind, segment.params, seed=100 + seed)
        least = best_of(segment, examples, exact=True, **options)[0][-1]
        found = best_of(segment, examples, **options)[0]
        assert len(found) == 10
        hits.append(np.mean(found >= least))
    return float(np.mean(hits))


@pytest.mark.parametrize("kind", KINDS)
def test_walks_find_what_a_scan_finds(sealed, kind):
    assert recall(sealed, kind, ef=100) >= 0.85
    most = np.random.default_rng(7).random(sealed.rows) < 0.9
    assert recall(sealed, kind, ef=80, selected=most) >= 0.8


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_walk_finds_has_the_score_of_the_formula_bit_by_bit(sealed, kind):
    for seed in range(5):
        examples = examples_of(kind, sealed.params, seed=seed)
        scores, rows = best_of(sealed, examples)
        assert len(set(rows.tolist())) == 10
        assert scores.tolist() == expected(sealed, examples)[rows].tolist()


@pytest.mark.parametrize("kind", KINDS)
def test_dead_and_unselected_rows_are_never_found(sealed, kind):
    generator = np.random.default_rng(11)
    alive, selected = generator.random(sealed.rows) < 0.7, generator.random(sealed.rows) < 0.6
    examples = examples_of(kind, sealed.params)
    wanted = np.flatnonzero(alive & selected)
    for exact in (True, False):
        scores, rows = best_of(sealed, examples, alive=alive, selected=selected, exact=exact)
        assert np.isin(rows, wanted).all()
        if exact:
            assert scores.tolist() == np.sort(expected(sealed, examples)[wanted])[::-1][:10].tolist()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("chosen", [QuantizationKind.SCALAR, QuantizationKind.BINARY])
def test_the_users_codes_are_walked_and_rescored_as_asked(tmp_path, kind, chosen):
    params = params_of(64, quantization=Quantization(chosen), ef_construct=64)
    segment = sealed_of(tmp_path, params, vectors_for(params, 3000, seed=5))
    examples = examples_of(kind, params)
    scores = expected(segment, examples)
    for asked in (AS_SET, QuantizationParams(ignore=True), QuantizationParams(oversampling=3.0)):
        found, rows = best_of(segment, examples, quantization=asked)
        assert found.tolist() == scores[rows].tolist()
    found, rows = best_of(segment, examples, quantization=QuantizationParams(rescore=False))
    assert len(set(rows.tolist())) == len(found) == 10
