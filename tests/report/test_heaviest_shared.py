"""`Report.heaviest`: where several ways lead to a part, or parts know each other.

What is shared is written where it is met first, so the extents in the payload follow the order of
attributes and items; what is listed must not.
"""

from __future__ import annotations

import itertools
import random
import subprocess
import sys
from typing import Any

import cloudpickle
import pytest
from things import Thing

import weakreduce

SIZE = 300_000


def listed(root: Any, host: Any = "cloudpickle") -> list[str]:
    """The paths of the heaviest, each of another object."""
    report = weakreduce.explain(root, host=host)
    paths = [weight.path for weight in report.heaviest]
    parts = [eval(path, {"root": root, "type": type}) for path in paths]
    assert len({id(part) for part in parts}) == len(parts) <= 20
    for weight, part in zip(report.heaviest, parts, strict=True):
        if weight.exact:
            assert weight.bytes == len(weakreduce.dumps(part, host=host))
    return paths


@pytest.mark.parametrize("host", ["cloudpickle", "dill", "pickle"])
def test_what_is_held_twice(host: Any) -> None:
    table = Thing(rows={"x": bytes(SIZE)})
    job = Thing(table=table)
    assert listed([job, table], host) == ["root[0]", "root[1]", "root[1].rows", "root[1].rows['x']"]
    assert listed([table, job], host) == ["root[0]", "root[0].rows", "root[0].rows['x']"]
    with weakreduce.record() as report:
        cloudpickle.dumps([job, table])
    assert report.heaviest[-1].path == "root[1].rows['x']"


def test_an_application_whose_trainer_knows_the_model() -> None:
    model = Thing(layers=[bytes(SIZE)])
    trainer = Thing(model=model)
    for names in itertools.permutations(("trainer", "model", "other")):
        app = Thing()
        for name in names:
            setattr(app, name, {"trainer": trainer, "model": model, "other": [1]}[name])
        found = listed({"app": app})
        assert {"root['app'].model", "root['app'].model.layers[0]"} <= set(found)
        assert not any("trainer.model" in path for path in found)


def test_a_shorter_way_through_what_is_light() -> None:
    """Only the first holder in the payload is as heavy as what it holds."""
    data = [bytes(SIZE)]
    app = Thing(inner=Thing(inner=Thing(inner=Thing(data=data))))
    for root in ({"app": app, "index": [data]}, {"index": [data], "app": app}):
        found = listed(root)
        assert "root['index'][0]" in found
        assert found[-1] == "root['index'][0][0]"


def pair(first: Thing, second: Thing) -> None:
    first.other, second.other = second, first  # type: ignore[attr-defined]


def by_lists(first: Thing, second: Thing) -> None:
    first.other, second.other = [second], [first]  # type: ignore[attr-defined]


def all_of_them(first: Thing, second: Thing) -> None:
    first.other = second.other = [first, second]  # type: ignore[attr-defined]


@pytest.mark.parametrize("link", [pair, by_lists, all_of_them])
@pytest.mark.parametrize("is_first", [True, False])
def test_objects_that_know_each_other(link: Any, is_first: bool) -> None:
    first, second = Thing(), Thing()
    link(first, second)
    (first if is_first else second).table = {"x": bytes(SIZE)}  # type: ignore[attr-defined]
    held = f"root[{1 - is_first}].table"
    assert listed([first, second])[-2:] == [held, f"{held}['x']"]
    assert listed({"them": [second, first]})[-1] == f"root['them'][{int(is_first)}].table['x']"


@pytest.mark.parametrize("seed", range(6))
def test_a_registry_of_objects_that_know_each_other(seed: int) -> None:
    """The way down leads through many of them, whose rows would all say the same."""
    chance = random.Random(seed)
    registry = Thing(models={})
    models = [Thing(registry=registry, links={}) for _ in range(60)]
    for number, model in enumerate(models):
        vars(registry)["models"][f"m{number}"] = model
        vars(model)["owners"] = [chance.choice(models) for _ in range(3)]
        vars(model)["links"] = {name: chance.choice(models) for name in "abcd"}
    data = {"x": bytes(SIZE), "y": bytes(SIZE), "own": [models[33]]}
    vars(models[33])["links"]["data"] = data
    found = listed(registry)
    path = "root.models['m33']"
    assert {path, f"{path}.links", f"{path}.links['data']['x']"} <= set(found)
    assert f"{path}.links['data']['y']" in found
    # What is beside the way is left out.
    assert len(found) < 12


def test_a_tree_whose_nodes_know_their_parents() -> None:
    root = Thing(children=[])
    for _ in range(5):
        branch = Thing(parent=root, children=[])
        vars(root)["children"].append(branch)
        vars(branch)["children"] += [Thing(parent=branch) for _ in range(5)]
    leaf = vars(vars(root)["children"][3])["children"][2]
    leaf.data = bytes(SIZE)
    assert listed(root)[-1] == "root.children[3].children[2].data"
    other = vars(vars(root)["children"][0])["children"][0]
    assert listed(other)[-1] == "root.parent.parent.children[3].children[2].data"


def test_the_hash_seed_does_not_matter() -> None:
    program = f"""
import weakreduce
from things import Thing
table = Thing(rows=bytes({SIZE}))
names = {{"model", "trainer", "data", "view"}}
app = Thing(**{{name: Thing(name) for name in names}})
for name in names - {{"model"}}:
    vars(vars(app)[name])["model"] = vars(app)["model"]
    vars(vars(app)["model"])[name] = vars(app)[name]
vars(app)["model"].table = table
print(weakreduce.explain([app]).heaviest[-1].path)
"""
    found = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONHASHSEED": str(seed), "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
            timeout=300,
        ).stdout
        for seed in range(1, 5)
    }
    assert found == {"root[0].model.table.rows\n"}


def test_every_part_is_opened_that_one_of_its_own_takes_most_of() -> None:
    equal = {"a": Thing(data=bytes(SIZE)), "b": Thing(data=bytes(SIZE))}
    assert set(listed(equal)) == {"root['a']", "root['a'].data", "root['b']", "root['b'].data"}
    less = {"a": Thing(data=bytes(600_000)), "b": Thing(data=bytes(400_000))}
    assert listed(less) == ["root['a']", "root['a'].data", "root['b']", "root['b'].data"]
    tables = {str(number): Thing(deep=[[bytes(SIZE + number)]]) for number in range(10)}
    found = listed(tables)
    assert len(found) == 20
    assert {f"root['{number}'].deep[0][0]" for number in range(10)} <= set(found)


def test_what_is_in_itself_is_no_part_of_itself() -> None:
    root: Any = [bytes(SIZE)]
    root.append(root)
    inner = Thing(data=bytes(SIZE))
    vars(inner)["me"] = inner
    assert listed(root) == ["root[0]"]
    assert listed([inner]) == ["root[0]", "root[0].data"]
