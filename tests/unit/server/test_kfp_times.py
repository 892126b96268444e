"""Times of the KFP API: a microsecond is what a client knows of a time, and what it then asks about."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mlplatform.core.errors import InvalidInput
from mlplatform.server.kfp.times import from_rfc3339, microsecond, to_rfc3339

MOMENTS = st.floats(0, 4e9, allow_nan=False)


@given(MOMENTS)
@example(1795720782.5333648)
def test_a_time_lies_in_the_microsecond_that_is_told(time: float) -> None:
    told = to_rfc3339(time)
    assert told is not None
    begin = from_rfc3339(told)
    assert microsecond(begin) == microsecond(time)
    assert begin <= time < (microsecond(begin) + 1) / 1e6


@given(st.integers(0, 4 * 10**15))
def test_whole_microseconds_come_back(micros: int) -> None:
    assert microsecond(micros / 1e6) == micros


def test_how_it_is_written() -> None:
    assert to_rfc3339(0.0) == "1970-01-01T00:00:00Z"
    assert to_rfc3339(1.5) == "1970-01-01T00:00:01.5Z"
    assert to_rfc3339(None) is None
    assert from_rfc3339("1970-01-01T01:00:00+01:00") == 0.0
    with pytest.raises(InvalidInput, match="is no time"):
        from_rfc3339("yesterday")
