import asyncio

import pytest

from qnode import deadline
from qnode.errors import TimedOut


def test_without_a_deadline_work_goes_on():
    deadline.check()
    with deadline.within(1000):
        deadline.check()
    deadline.check()


def test_work_ends_when_the_time_is_up():
    with deadline.within(-1), pytest.raises(TimedOut):
        deadline.check()
    deadline.check()


def test_a_deadline_is_never_put_off():
    with deadline.within(-1), deadline.within(1000), pytest.raises(TimedOut):
        deadline.check()


async def _in_a_thread_of_a_task():
    with deadline.within(-1):
        return await asyncio.gather(asyncio.to_thread(deadline.check), return_exceptions=True)


def test_threads_and_tasks_have_the_deadline_of_who_started_them():
    (outcome,) = asyncio.run(_in_a_thread_of_a_task())
    assert isinstance(outcome, TimedOut)
