"""RxPY: a scheduler of the current thread keeps what waits in a WeakKeyDictionary, by thread.

``CurrentThreadScheduler`` in ``reactivex/scheduler/currentthreadscheduler.py``. Threads stay where
they are, so whoever sends one says that with the policy.
"""

from __future__ import annotations

import journey
from reactivex.scheduler import CurrentThreadScheduler


class Job:
    def __init__(self) -> None:
        self.scheduler, self.done = CurrentThreadScheduler(), 0
        self.run()

    def run(self) -> None:
        self.scheduler.schedule(self.step)

    def step(self, *_: object) -> None:
        self.done += 1


def works(job: Job) -> None:
    job.run()
    assert job.done == 2


def test_a_job_goes_on_there() -> None:
    journey.refused(Job())
    journey.travels(Job, works, outside="dangle")
