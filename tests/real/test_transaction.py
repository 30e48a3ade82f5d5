"""transaction, of ZODB: a manager's WeakSet is a WeakValueDictionary by ``id``.

See ``transaction/weakset.py``: what joins it need not be hashable.
"""

from __future__ import annotations

import gc

import journey
from transaction import TransactionManager


class Watcher:
    __hash__ = None  # type: ignore[assignment]

    def __init__(self) -> None:
        self.heard: list[str] = []

    def beforeCompletion(self, transaction: object) -> None:
        self.heard.append("before")

    def afterCompletion(self, transaction: object) -> None:
        self.heard.append("after")

    def newTransaction(self, transaction: object) -> None:
        self.heard.append("new")


class Work:
    def __init__(self) -> None:
        self.manager, self.watchers = TransactionManager(), [Watcher(), Watcher()]
        for watcher in self.watchers:
            self.manager.registerSynch(watcher)


def works(work: Work) -> None:
    first, second = work.watchers
    assert first in work.manager._synchs
    work.manager.unregisterSynch(second)  # which is found by its identity
    work.manager.begin()
    work.manager.commit()
    assert first.heard == ["new", "before", "after"]
    assert second.heard == []
    del first, work.watchers[:]
    gc.collect()
    assert not work.manager.registeredSynchs()


def test_those_that_watch_transactions_are_told_there() -> None:
    journey.refused(Work())
    journey.travels(Work, works)
