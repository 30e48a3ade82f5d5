"""Proxies that can be called, of instances that their own class by value holds.

The type of a proxy tells whether its referent's class had a `__call__` when the proxy was made, so
it may have to wait for all of the class.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from programs import run

#: A script that writes what it is asked for; its class holds an instance, or two.
SCRIPT = """
import sys, weakref
import cloudpickle
import weakreduce

class Called:
    def __init__(self):
        self.other = None
    def __call__(self):
        return "called"

one = Called()
two = one if sys.argv[1] == "itself" else Called()
one.other, two.other = weakref.proxy(two), weakref.proxy(one)
Called.kept = [one, two]
root = {"object": one, "class": [Called, one], "proxy": one.other, "list": [one.other, two]}
with open(sys.argv[4], "wb") as file:
    cloudpickle.dump(root[sys.argv[2]], file, protocol=int(sys.argv[3]))
"""
#: What a bare interpreter finds.
FOUND = """
import gc, json, pickle, sys, weakref
with open(sys.argv[1], "rb") as file:
    copy = pickle.load(file)
if type(copy) is list:
    copy = copy[-1]
gc.collect()
proxy = copy if type(copy) in weakref.ProxyTypes else copy.other
found = [proxy, proxy.other, *(kept.other for kept in proxy.kept)]
json.dump([[type(each).__name__, each()] for each in found], sys.stdout)
"""


@pytest.mark.parametrize("whose", ["itself", "two"])
@pytest.mark.parametrize("root", ["object", "class", "proxy", "list"])
def test_it_can_be_called(whose: str, root: str, tmp_path: Path) -> None:
    payload = str(tmp_path / "payload")
    for protocol in ("2", "5"):
        run(SCRIPT, whose, root, protocol, payload)
        assert json.loads(run(FOUND, payload)) == [["CallableProxyType", "called"]] * 4
