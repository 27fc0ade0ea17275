"""Which texts are points in time, and which ones."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qnode.errors import MalformedBody
from qnode.models.datetimes import datetime_bound, parse_datetime

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def microseconds(*parts: int, hours: int = 0, minutes: int = 0) -> int:
    zone = timezone(timedelta(hours=hours, minutes=minutes))
    return (datetime(*parts, tzinfo=zone) - EPOCH) // timedelta(microseconds=1)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1969-12-31T23:59:59.999999Z", -1),
        ("2014-01-01T00:00:00Z", microseconds(2014, 1, 1)),
        ("2014-01-01t00:00:00z", microseconds(2014, 1, 1)),
        ("2014-01-01", microseconds(2014, 1, 1)),
        ("2014-1-2", microseconds(2014, 1, 2)),
        ("2014-01-01 12:30:05", microseconds(2014, 1, 1, 12, 30, 5)),
        ("2014-01-01T12:30:05", microseconds(2014, 1, 1, 12, 30, 5)),
        ("2014-01-01 12:30", microseconds(2014, 1, 1, 12, 30)),
        ("2014-01-01T12:30", microseconds(2014, 1, 1, 12, 30)),
        ("2014-01-01T12:30:05.5", microseconds(2014, 1, 1, 12, 30, 5, 500_000)),
        ("2014-01-01T12:30:05.123456789Z", microseconds(2014, 1, 1, 12, 30, 5, 123_456)),
        ("2014-01-01T12:30:05+02:00", microseconds(2014, 1, 1, 12, 30, 5, hours=2)),
        ("2014-01-01T12:30:05+0230", microseconds(2014, 1, 1, 12, 30, 5, hours=2, minutes=30)),
        ("2014-01-01 12:30:05.25-08", microseconds(2014, 1, 1, 12, 30, 5, 250_000, hours=-8)),
        ("2014-01-01 12:30:05-03:30", microseconds(2014, 1, 1, 12, 30, 5, hours=-3, minutes=-30)),
        ("2014-01-01 12:30:05 UTC", microseconds(2014, 1, 1, 12, 30, 5)),
        ("2014-01-01 12:30:05 +01:00", microseconds(2014, 1, 1, 12, 30, 5, hours=1)),
        ("  2014-01-01", microseconds(2014, 1, 1)),
        ("2016-12-31T23:59:60Z", microseconds(2017, 1, 1)),
        ("2016-02-29", microseconds(2016, 2, 29)),
        ("0001-01-01T00:00:00Z", microseconds(1, 1, 1)),
        ("9999-12-31T23:59:59.999999Z", microseconds(9999, 12, 31, 23, 59, 59, 999_999)),
        ("0001-01-01T00:00:00+14:00", microseconds(1, 1, 1) - 14 * 3600 * 10**6),
    ],
)
def test_accepted_texts_and_their_times(text, expected):
    assert parse_datetime(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        *["", "x", "2014", "2014-01", "2014-13-01", "2014-02-30", "2015-02-29", "20140101", "2014-W01-1", "2014/01/01"],
        *["2014-01-01T", "2014-01-01T10", "2014-01-01T24:00:00Z", "2014-01-01T10:60:00", "2014-01-01T10:00:61"],
        *["2014-01-01T10:00:00,5Z", "2014-01-01T10:00:00.Z", "2014-01-01T10:00Z", "2014-01-01Z", "2014-01-01+01:00"],
        *["2014-01-01T10:00:00+24:00", "2014-01-01T10:00:00+01:60", "2014-01-01T10:00:00+1", "2014-01-01x10:00:00"],
        *["0000-01-01", "10000-01-01", "-2014-01-01", "2014-01-01T10:00:00Z ", "٢٠١٤-01-01", "2014-01-01T1٠:00:00"],
        "2014-01-01T10:00:00." + "0" * 1000,
    ],
)
def test_other_texts_are_no_times(text):
    assert parse_datetime(text) is None


def test_malformed_bound_is_named_with_an_example():
    with pytest.raises(MalformedBody) as caught:
        datetime_bound("yesterday")
    assert str(caught.value) == (
        "Format error in JSON body: 'yesterday' does not match accepted datetime format (RFC3339). "
        "Example: 2014-01-01T00:00:00Z"
    )


@given(
    st.datetimes(
        timezones=st.integers(-840, 840).map(lambda minutes: timezone(timedelta(minutes=minutes))),
        min_value=datetime(2, 1, 1),
        max_value=datetime(9998, 1, 1),
    ),
    st.sampled_from("T "),
)
def test_what_isoformat_writes_is_read_back(moment, separator):
    assert parse_datetime(moment.isoformat(separator)) == (moment - EPOCH) // timedelta(microseconds=1)
    naive = moment.astimezone(UTC).replace(tzinfo=None)
    assert parse_datetime(naive.isoformat(separator)) == (moment - EPOCH) // timedelta(microseconds=1)
