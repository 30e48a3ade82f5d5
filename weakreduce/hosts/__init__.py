"""The hosts: how each Pickler class is driven, and readied to write weak things.

`patch.py` puts ours in place, `picklers.py` drives a pickler; what one host needs besides is in a
file of its own, with a ``make_patch(module)`` that a row of `weakreduce.registry` names. `own.py`
are the dumps that need no host to be readied. Nothing here knows an engine.
"""
