"""One dump, from object to bytes: as many walks as exactness needs, one write to the file.

`obj -> FirstWalk -> (SecondWalk) -> bytes`. A `Session` belongs to one call of one
pickler's ``dump``. The pickler writes into a `Sink` of ours, so a walk that has to be run
again leaves nothing behind: not in the user's file, not in the pickler's memo, and out-of-band
buffers are handed to the user's callback once, at the end.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from typing import Any, Protocol

from weakreduce import paths
from weakreduce.decide import Decision, Fate
from weakreduce.errors import DanglingWarning, WeakrefPicklingError
from weakreduce.first_walk import FirstWalk
from weakreduce.kinds import Edge, kind_of
from weakreduce.known import Adapter, Known
from weakreduce.policy import Policy, get_policy
from weakreduce.policy import policy as block
from weakreduce.second_walk import SecondWalk
from weakreduce.walk import Refused, Walk


class Engine(Adapter, Protocol):
    """A pickler, as a session drives it."""

    pickler: Any

    def run(self, obj: Any) -> None:
        """The host's own ``dump``, which writes to the sink."""

    def memo(self) -> dict[int, Any]:
        """A copy of the memo, which keeps all that it names alive."""

    def reset(self, memo: dict[int, Any]) -> None:
        """Put an earlier memo back."""

    def sibling_dump(self, obj: Any, sink: Sink) -> None:
        """Dump `obj` by itself, with a pickler of the same kind and settings."""


class TooLarge(Exception):  # noqa: N818 - an answer, not an error
    """A sink's limit is passed."""


class Sink(io.BytesIO):
    """Where a pickler writes until its dump is known to be right."""

    limit: float | None = None

    def limited(self, limit: float) -> Sink:
        """This sink, refusing to grow past `limit` bytes."""
        self.limit = limit
        return self

    def clear(self) -> None:
        """Forget what was written."""
        self.seek(0)
        self.truncate()


class Buffers:
    """Stands between the pickler and the user's ``buffer_callback``.

    A dump that is run twice must hand each buffer over once. The callback's answer (in band
    or out of band) is needed at once, so it is asked once for each buffer and remembered.
    """

    def __init__(self, callback: Callable[[Any], Any]) -> None:
        self.callback = callback
        self.answers: list[tuple[Any, Any]] = []
        self.position = 0

    def rewind(self) -> None:
        """A walk starts anew."""
        self.position = 0

    def forget(self) -> None:
        """A dump has ended."""
        self.answers.clear()
        self.position = 0

    def __call__(self, buffer: Any) -> Any:
        """Answer for a buffer as the user's callback does, asking it only the first time."""
        raw = _address(buffer)
        for number in range(self.position, len(self.answers)):
            known, answer = self.answers[number]
            if known == raw:
                self.position = number + 1
                return answer
        answer = self.callback(buffer)
        self.answers.append((raw, answer))
        self.position = len(self.answers)
        return answer


def _address(buffer: Any) -> tuple[int, int]:
    with memoryview(buffer) as view:
        return id(view.obj), view.nbytes


class Session:
    """One dump of one pickler."""

    def __init__(self, engine: Engine, sink: Sink, buffers: Buffers | None, policy: Policy) -> None:
        self.engine = engine
        self.sink = sink
        self.buffers = buffers
        self.policy = policy
        self.start = engine.memo()
        self.known = Known(engine, policy, self._too_large, self.start)
        self.warned: list[tuple[Edge | None, str]] = []

    def dump(self, obj: Any) -> None:
        """Leave the payload of `obj` in the sink.

        Raises:
            WeakrefPicklingError: where the policy refuses.
            Exception: whatever stock raises for what is not weak.
        """
        try:
            while not self._attempt(obj):
                self._start_over()
        except Refused as refused:
            raise self._refusal(obj, refused.edge, refused.decision) from None
        finally:
            if self.buffers is not None:
                self.buffers.forget()

    # --- walks ------------------------------------------------------------------------

    def _start_over(self) -> None:
        self.sink.clear()
        self.engine.reset(self.start)
        if self.buffers is not None:
            self.buffers.rewind()

    def _run(self, walk: Walk, obj: Any) -> None:
        pickler = self.engine.pickler
        pickler.reducer_override = walk.override
        try:
            self.engine.run(obj)
        finally:
            # The override refers to what it has met: no cycle, and nothing outlives the dump.
            del pickler.reducer_override

    def _attempt(self, obj: Any) -> bool:
        first = FirstWalk(self.known, self.engine.memo)
        self._run(first, obj)
        if not first.pending and not first.again:
            return True
        if not self._learn(first):
            return False
        asked = [edge for edge in first.pending if id(edge.referent) not in first.met]
        for edge in asked:
            decision = self.known.outside(edge.weak, edge.referent)
            if decision.fate is Fate.REFUSE:
                raise Refused(edge, decision)
        if not first.again and len(asked) == len(first.pending):
            for edge in asked:
                self._note_lost(edge)
            self._warn(obj)
            return True
        self.known.inside = dict(first.met)
        kept_alive = self.engine.memo()
        self._start_over()
        second = SecondWalk(self.known, obj)
        try:
            self._run(second, second.envelope())
        except (Refused, TooLarge):
            raise
        except Exception as error:
            if not self._blame(second, obj, error):
                raise
            return False
        del kept_alive
        for edge, reason in second.lost:
            self.warned.append((edge, reason))
        self._warn(obj)
        return True

    def _learn(self, first: FirstWalk) -> bool:
        """Walk what is strong only by way of weak things; False where a callback had to go."""
        if not first.queue and not first.waiting:
            first.learn_sets()
            return True
        callbacks = list(first.queue)
        marker = self.sink.tell()
        try:
            self._run(first, first.rest())
        except (Refused, TooLarge):
            raise
        except Exception as error:
            if not self._drop_callbacks(first, callbacks, error):
                raise
            return False
        self.sink.seek(marker)
        self.sink.truncate()
        return True

    def _probe(self, obj: Any) -> Exception | None:
        """Why `obj` cannot be pickled by itself, weak edges left aside; None if it can."""
        self._start_over()
        try:
            self._run(FirstWalk(self.known, self.engine.memo), obj)
        except Refused:
            return None
        except TooLarge:
            raise
        except Exception as error:  # noqa: BLE001 - it is the answer
            return error
        return None

    def _drop_callbacks(self, first: FirstWalk, queued: list[Any], error: Exception) -> bool:
        dropped = False
        candidates = [*queued, *(e.callback for e in first.pending if e.callback is not None)]
        for callback in candidates:
            if id(callback) in self.known.dropped or not callable(callback):
                continue
            cause = self._probe(callback)
            if cause is not None:
                dropped = True
                self.known.dropped[id(callback)] = (callback, _cause(cause))
                self.warned.append((Edge(callback, None), _cause(cause)))
        return dropped

    def _blame(self, second: SecondWalk, obj: Any, error: Exception) -> bool:
        """Find the snapshots that cannot be pickled; False where the failure is not theirs."""
        found = False
        for edge in list(second.snapshots.values()):
            if id(edge.referent) in self.known.failed:
                continue
            cause = self._probe(edge.referent)
            if cause is None:
                continue
            found = True
            if self.policy.unpicklable == "raise":
                decision = Decision(Fate.REFUSE, f"its referent cannot be pickled: {_cause(cause)}")
                raise self._refusal(obj, edge, decision) from cause
            self.known.failed[id(edge.referent)] = f"it cannot be pickled ({_cause(cause)})"
        del error
        return found

    def _too_large(self, referent: Any) -> bool:
        limit = self.policy.max_snapshot_bytes
        assert limit is not None
        try:
            with block(self.policy, max_snapshot_bytes=None), warnings.catch_warnings():
                warnings.simplefilter("ignore", DanglingWarning)
                self.engine.sibling_dump(referent, Sink().limited(limit))
        except TooLarge:
            return True
        except Exception:  # noqa: BLE001 - it cannot be pickled: `_blame` finds and says so
            return False
        return False

    # --- words ------------------------------------------------------------------------

    def _note_lost(self, edge: Edge) -> None:
        reason = self.known.failed.get(id(edge.referent))
        if reason is not None:
            self.warned.append((edge, reason))

    def _where(self, root: Any, edge: Edge) -> str:
        path = paths.path_to(root, edge.weak)
        kind = kind_of(type(edge.weak))
        if path is None:
            return f"a {type(edge.weak).__qualname__} below root"
        if kind is None or kind.name in ("ref", "WeakMethod", "proxy"):
            return path
        return paths.edge_path(kind.name, path, edge)

    def _refusal(self, root: Any, edge: Edge, decision: Decision) -> WeakrefPicklingError:
        if self.policy.live == "forbid":
            what = "drop the reference before pickling, or choose another policy"
        else:
            what = (
                "put the referent into the payload, or write "
                'weakreduce.policy("snapshot") to send a copy that the reference keeps alive, '
                'weakreduce.policy("dangle") to send the reference dead, '
                f"or rules=(({type(edge.referent).__name__}, 'dangle'),) for this type alone"
            )
        place = "outside; " if self.policy.live != "forbid" else ""
        return WeakrefPicklingError(
            f"{self._where(root, edge)}: {type(edge.referent).__qualname__} "
            f"({place}{decision.reason}). To send it: {what}."
        )

    def _warn(self, root: Any) -> None:
        said = set()
        for edge, reason in self.warned:
            assert edge is not None
            if edge.referent is None:
                path = paths.path_to(root, edge.weak) or "a weak reference below root"
                text = (
                    f"{path}: the callback {type(edge.weak).__qualname__} was dropped because it "
                    f'cannot be pickled ({reason}). Write policy(callbacks="drop") to say so, or '
                    "make the callback picklable."
                )
            else:
                text = (
                    f"{self._where(root, edge)}: {type(edge.referent).__qualname__} (outside) "
                    f'arrives dead: {reason}. Write weakreduce.policy("dangle"), or '
                    f"rules=(({type(edge.referent).__name__}, 'dangle'),), to say so."
                )
            if text not in said:
                said.add(text)
                warnings.warn(text, DanglingWarning, stacklevel=6)


def _cause(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


def run(engine: Engine, sink: Sink, buffers: Buffers | None, obj: Any) -> None:
    """Dump `obj` under the policy in force."""
    Session(engine, sink, buffers, get_policy()).dump(obj)
