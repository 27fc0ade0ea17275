"""Points in time: RFC 3339 and its neighbours, as integer microseconds since 1970 UTC.

What is read, the same for stored values and for the bounds of a filter: a date alone; a date and a time with `T` or a
space between them; fractions of a second (what is finer than a microsecond is cut off); `Z`, `UTC` or an offset with
or without colon or minutes, also behind a space. Without a zone the time is UTC, and only then the seconds may be
missing. Years 0001 to 9999.
"""

from __future__ import annotations

import re
from datetime import date, datetime

from qnode.errors import MalformedBody

_MICROSECONDS = 1_000_000
_EPOCH_DAY = date(1970, 1, 1).toordinal()
_EPOCH = datetime(1970, 1, 1)
_SHOWN_TEXT_LENGTH = 100
_MAX_TEXT_LENGTH = 100

_FORMAT = re.compile(
    r"\s*(\d{4})-(\d{1,2})-(\d{1,2})"
    r"(?:[Tt ](\d{1,2}):(\d{1,2})"
    r"(?::(\d{1,2})(?:\.(\d+))?"
    r"( ?(?:[Zz]|UTC|([+-])(\d{2})(?::?(\d{2}))?))?)?)?",
    re.ASCII,
)


def parse_datetime(text: str) -> int | None:
    """Read a point in time as microseconds since 1970 UTC; None if the text is none."""
    # The usual shapes, 2024-01-31 and 2024-01-31T10:00:00 with or without Z, are read by the standard library, five
    # times as fast. It takes other formats too, so the shape is checked first.
    length = len(text)
    if length == 10:
        shaped = text[4] == "-" == text[7]
    else:
        shaped = (
            (length == 19 or (length == 20 and text[19] in "Zz"))
            and text[4] == "-" == text[7]
            and text[10] in "T "
            and text[11:13] < "24"
            and text[13] == ":" == text[16]
        )
    if shaped:
        try:
            passed = datetime.fromisoformat(text[:19]) - _EPOCH
        except ValueError:
            pass
        else:
            return (passed.days * 86_400 + passed.seconds) * _MICROSECONDS
    return _parse_any(text)


def _parse_any(text: str) -> int | None:
    found = _FORMAT.fullmatch(text) if len(text) <= _MAX_TEXT_LENGTH else None
    if found is None:
        return None
    year, month, day, hour, minute, second, fraction, _, sign, offset_hours, offset_minutes = found.groups(default="0")
    try:
        days = date(int(year), int(month), int(day)).toordinal() - _EPOCH_DAY
    except ValueError:
        return None
    hours, minutes, seconds = int(hour), int(minute), int(second)
    # Second 60 is a leap second; it is counted as the first one of the next minute.
    if hours > 23 or minutes > 59 or seconds > 60 or int(offset_hours) > 23 or int(offset_minutes) > 59:
        return None
    offset = (int(offset_hours) * 60 + int(offset_minutes)) * (-60 if sign == "-" else 60)
    total = days * 86_400 + hours * 3_600 + minutes * 60 + seconds - offset
    return total * _MICROSECONDS + int(fraction[:6].ljust(6, "0"))


def datetime_bound(text: str) -> int:
    """Read the bound of a filter as microseconds since 1970 UTC; raise MalformedBody if it is no point in time."""
    moment = parse_datetime(text)
    if moment is None:
        raise MalformedBody(
            f"'{text[:_SHOWN_TEXT_LENGTH]}' does not match accepted datetime format (RFC3339). "
            "Example: 2014-01-01T00:00:00Z"
        )
    return moment
