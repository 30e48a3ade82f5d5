"""What each Python says of a weak reference that it cannot pickle, for the page of them: a script.

    python3.9 tests/run_error_messages.py --into tests/error_messages.json   # on each Python
    python tests/run_error_messages.py --engines --into tests/error_messages.json
    python tests/make_pages.py                                              # writes the page

It runs on every Python from 3.6 on, with cloudpickle and dill where they are installed. It extends
nothing unless ``--fixed`` is given: then weakreduce is imported, as the page says. Without
``--into`` it prints what it finds. Nothing of the page is written here.
"""

import contextlib
import json
import os
import pickle
import re
import sys
import traceback
import weakref

FIXED = "--fixed" in sys.argv
if FIXED:
    import weakreduce

    weakreduce.install("pickle")
else:
    os.environ["WEAKREDUCE_INSTALL"] = "0"  # of workers, too


class Node:
    def method(self):
        pass


class MyRef(weakref.ref):
    pass


class Child:
    def __init__(self, parent):
        self.parent = weakref.ref(parent)


class Stubborn:
    """Hides how it is pickled, as some objects written in C do."""

    def __getattribute__(self, name):
        if name.startswith("__reduce"):
            raise AttributeError(name)
        return object.__getattribute__(self, name)


def cases():
    """Each kind of weak thing, by its name; what they refer to comes last."""
    node, gone, stubborn = Node(), Node(), Stubborn()
    value, key = weakref.WeakValueDictionary(), weakref.WeakKeyDictionary()
    value["key"], key[node] = node, 1
    found = {
        "ref": weakref.ref(node),
        "dead ref": weakref.ref(gone),
        "subclass of ref": MyRef(node),
        "KeyedRef": weakref.KeyedRef(node, None, 1),
        "WeakMethod": weakref.WeakMethod(node.method),
        "proxy": weakref.proxy(node),
        "dead proxy": weakref.proxy(gone),
        "proxy of a class": weakref.proxy(Node),
        "proxy of what has no __reduce__": weakref.proxy(stubborn),
        "WeakSet": weakref.WeakSet([node]),
        "WeakValueDictionary": value,
        "WeakKeyDictionary": key,
        "object with a ref": {"nodes": [Child(node)]},
    }
    found["ref at protocol 0 or 1"] = found["ref"]
    del gone
    return found, (node, stubborn)


def text_of(error):
    """The last lines of its traceback, notes included, without what differs from run to run."""
    lines = "".join(traceback.format_exception_only(type(error), error)).strip()
    for prefix in ("__main__.", "_pickle."):
        lines = lines.replace(prefix, "")
    return re.sub(r"0x[0-9a-f]+|[0-9a-f]{32}", "...", lines)


def outcome(module, weak, protocol):
    """What an attempt says, or what arrives."""
    try:
        payload = module.dumps(weak, protocol)
    except Exception as error:
        return text_of(error)
    return "arrives as " + type(module.loads(payload)).__name__


def hosts():
    """The modules that pickle, as far as there are any."""
    found = {"pickle": pickle}
    for name in ("cloudpickle", "dill"):
        with contextlib.suppress(ImportError):
            found[name] = __import__(name)
    return found


def on_this_python():
    """What each pickler says to each kind."""
    kinds, _held = cases()
    found = {}
    for name, module in hosts().items():
        found[name] = {
            kind: outcome(module, weak, 1 if "protocol" in kind else None)
            for kind, weak in kinds.items()
        }
        found[name]["version"] = getattr(module, "__version__", None)
    return found


# --- what engines say ----------------------------------------------------------------------


def nothing(obj):
    """A task."""


def a_node():
    """A task whose result has a weak reference to itself."""
    node = Node()
    node.itself = weakref.ref(node)
    return node


def _process(obj):
    import multiprocessing

    process = multiprocessing.get_context("spawn").Process(target=nothing, args=(obj,))
    process.start()
    process.join()


def _pool(obj):
    import multiprocessing

    with multiprocessing.get_context("spawn").Pool(1) as pool:
        pool.apply(nothing, (obj,))


def _pool_result(obj):
    import multiprocessing

    with multiprocessing.get_context("spawn").Pool(1) as pool:
        pool.apply(a_node)


def _executor(obj):
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as executor:
        executor.submit(nothing, obj).result()


def _loky(obj):
    import loky

    loky.get_reusable_executor(1).submit(nothing, obj).result()


def _joblib(obj):
    import joblib

    joblib.Parallel(2)([joblib.delayed(nothing)(obj)] * 2)


def _joblib_dump(obj):
    import joblib

    joblib.dump(obj, os.devnull)


def _multiprocess(obj):
    import multiprocess

    with multiprocess.get_context("spawn").Pool(1) as pool:
        pool.apply(nothing, (weakref.WeakMethod(obj.method),))


def _dask(obj):
    from distributed import Client, LocalCluster

    with LocalCluster(n_workers=1, dashboard_address=None) as cluster, Client(cluster) as client:
        client.submit(nothing, obj).result(timeout=60)


def _dask_scatter(obj):
    from distributed import Client, LocalCluster

    with LocalCluster(n_workers=1, dashboard_address=None) as cluster, Client(cluster) as client:
        client.scatter(obj)


def _ray(call):
    import ray

    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, configure_logging=False)
    try:
        call(ray)
    finally:
        ray.shutdown()


def _ray_argument(obj):
    _ray(lambda ray: ray.get(ray.remote(nothing).remote(obj)))


def _ray_put(obj):
    _ray(lambda ray: ray.put(obj))


def _pyspark(obj):
    sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "support"))
    import java
    from pyspark import SparkConf, SparkContext

    os.environ.update(java.environment())
    settings = SparkConf().set("spark.ui.enabled", "false").setMaster("local[1]")
    with SparkContext(conf=settings) as context:
        context.parallelize([1]).map(lambda _: obj).collect()


#: An engine's name -> what is done with an object that holds a weak reference.
ENGINES = {
    "multiprocessing.Process, spawn or forkserver": _process,
    "multiprocessing.Pool": _pool,
    "multiprocessing.Pool, a result": _pool_result,
    "ProcessPoolExecutor": _executor,
    "loky": _loky,
    "joblib.Parallel": _joblib,
    "joblib.dump": _joblib_dump,
    "multiprocess, pathos: a WeakMethod": _multiprocess,
    "Dask, submit": _dask,
    "Dask, scatter": _dask_scatter,
    "Ray, an argument": _ray_argument,
    "Ray, ray.put": _ray_put,
    "PySpark, a closure": _pyspark,
}


def of_engine(name):
    """The first line that an engine says, and the type of the error."""
    _kinds, (node, _stubborn) = cases()
    node.parent = weakref.ref(node)
    try:
        ENGINES[name](node)
    except Exception as error:
        return text_of(error).partition("\n")[0]
    return "no error"


def main():
    if "--engines" in sys.argv:
        chosen = [name for name in ENGINES if name in sys.argv] or list(ENGINES)
        key, found = "engines", {name: of_engine(name) for name in chosen}
    else:
        key, found = sys.version.split()[0], on_this_python()
    if "--into" in sys.argv:
        path = sys.argv[sys.argv.index("--into") + 1]
        with open(path, encoding="utf-8") as file:
            everything = json.load(file)
        everything[key] = found
        with open(path, "w", encoding="utf-8") as file:
            json.dump(everything, file, indent=1, sort_keys=True)
            file.write("\n")
    else:
        print(json.dumps(found, indent=1, sort_keys=True))


if __name__ == "__main__":
    main()
