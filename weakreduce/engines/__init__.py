"""The engines: what pickles late, or in another thread, is pickled at the submitting call.

One small file for each engine, or family of engines; each has ``make_patch(module)``, and
stands in a row of `weakreduce.registry.HOSTS`. What they share is in `submit.py`. Rule: an engine's
file knows where tasks enter the engine and which pickler it uses; it knows no weak thing.
"""
