"""OpenMDAO: a problem's parts hold their model, system or driver by ``weakref.ref``.

See ``Problem.setup`` in ``openmdao/core/problem.py`` and ``openmdao/solvers/solver.py``. Nodes of
the graph of connections have a ``__getattr__`` that answers None for ``__setstate__``, so that no
pickle of theirs loads (``openmdao/core/conn_graph.py``): the recipe sets their attributes itself. A
problem that was run shares arrays by views, which no pickle keeps: it is sent before it is run.
"""

from __future__ import annotations

import journey
import openmdao.api as om
from openmdao.core.conn_graph import NodeAttrs


def make() -> om.Problem:
    problem = om.Problem(reports=False)
    problem.model.add_subsystem("double", om.ExecComp("y = 2 * x"))
    problem.setup()
    problem.set_val("double.x", 3.0)
    return problem


def works(problem: om.Problem) -> None:
    problem.run_model()
    assert problem.get_val("double.y")[0] == 6
    problem.set_val("double.x", 4.0)
    problem.run_model()
    assert problem.get_val("double.y")[0] == 8


def test_a_problem_is_run_there() -> None:
    journey.refused(make())
    with journey.reduced_by(journey.by_hand, NodeAttrs):
        journey.travels(make, works)
