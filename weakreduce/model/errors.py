"""The errors and warnings of weakreduce.

Only classes live here: their texts are composed where the cause is known.
"""

from __future__ import annotations

import pickle


class WeakreduceError(Exception):
    """Base of every error that weakreduce itself raises."""


class WeakrefPicklingError(WeakreduceError, pickle.PicklingError, TypeError):
    """A weak thing cannot travel under the policy in force.

    It is a `pickle.PicklingError` and a `TypeError`, because stock picklers raise
    either for a weak reference and callers already catch them.
    """


class DanglingWarning(UserWarning):
    """A live referent, or a callback, did not travel although the policy did not ask for that.

    To silence it, say what you want: ``policy("dangle")`` or a rule for the referent's type.
    """


# Messages show the public name, not the private module.
for _public in (WeakreduceError, WeakrefPicklingError, DanglingWarning):
    _public.__module__ = "weakreduce"
