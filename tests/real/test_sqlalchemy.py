"""SQLAlchemy: a Session keeps what is new, dirty and deleted in WeakKeyDictionaries.

See ``Session.__init__`` and ``SessionTransaction`` in ``sqlalchemy/orm/session.py``.
"""

from __future__ import annotations

import journey
import sqlalchemy as sa
from sqlalchemy.orm import Session


class Repository:
    def __init__(self) -> None:
        self.session, self.table = Session(expire_on_commit=False), "stars"


def works(repository: Repository) -> None:
    assert repository.session.expire_on_commit is False
    engine = sa.create_engine("sqlite://")
    repository.session.bind = engine
    assert repository.session.scalar(sa.text("select 41 + 1")) == 42
    repository.session.close()
    engine.dispose()


def test_an_unbound_session_can_be_bound_there() -> None:
    journey.refused(Repository())
    journey.travels(Repository, works)
