"""One dump: what is reached, what becomes of each weak edge, and how that is written.

No pickler is imported here: `hosts` hands one over as an adapter.
"""
