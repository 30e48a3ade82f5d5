"""SQLAlchemy: a Session keeps what is new, dirty and deleted in WeakKeyDictionaries.

See ``Session.__init__`` and ``SessionTransaction`` in ``sqlalchemy/orm/session.py``.
"""

from __future__ import annotations

from pathlib import Path

import journey
import programs
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


DECLARED = """
import warnings
import sqlalchemy
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

class Base(DeclarativeBase):
    pass

class Star(Base):
    __tablename__ = "stars"
    number: Mapped[int] = mapped_column(primary_key=True)

def refused(make):
    warnings.simplefilter("ignore")  # of a second class of the same name
    try:
        make()
    except sqlalchemy.exc.InvalidRequestError as error:
        assert "does not have a __table__ or __tablename__" in str(error)
        print("refused")
"""
#: cloudpickle's first step to a class by value, and what it gives that.
STOCK = """
from cloudpickle import cloudpickle
*arguments, _, extra = cloudpickle._class_getnewargs(Star)
refused(lambda: cloudpickle._make_skeleton_class(*arguments, None, extra))
"""
OURS = """
import sys
import cloudpickle, weakreduce
open(sys.argv[1], "wb").write(cloudpickle.dumps(Star(number=1)))
"""


def test_declarative_classes_do_not_travel_by_value(tmp_path: Path) -> None:
    """As the recipe says: cloudpickle makes a class before it gives it attributes."""
    assert programs.run(DECLARED + STOCK).split() == ["refused"]
    file = tmp_path / "star.pkl"
    programs.run(DECLARED + OURS, str(file))
    load = f"import pickle; refused(lambda: pickle.loads(open({str(file)!r}, 'rb').read()))"
    assert programs.run(DECLARED + load).split() == ["refused"]
