"""Token buckets."""

from qnode.models.token_bucket import Shortage, TokenBucket


def test_a_bucket_is_full_at_first_and_gives_no_more_than_it_has() -> None:
    bucket = TokenBucket(5)
    assert bucket.shortage(5, 100.0) is None
    bucket.take(5)
    assert bucket.shortage(5, 100.0) == Shortage(0.0, 60.0)
    assert bucket.shortage(1, 100.0) == Shortage(0.0, 12.0)


def test_a_bucket_is_refilled_evenly_and_never_beyond_its_capacity() -> None:
    bucket = TokenBucket(60)
    assert bucket.shortage(60, 0.0) is None
    bucket.take(60)
    assert bucket.shortage(2, 1.0) == Shortage(1.0, 1.0)
    assert bucket.shortage(2, 2.0) is None
    assert bucket.shortage(60, 1000.0) is None
    assert bucket.shortage(61, 2000.0) == Shortage(60.0, None)


def test_what_is_refused_takes_nothing() -> None:
    bucket = TokenBucket(2)
    assert bucket.shortage(3, 0.0) is not None
    assert bucket.shortage(2, 0.0) is None
