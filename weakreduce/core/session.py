"""One dump, from object to bytes: as many walks as exactness needs, one write to the file.

The theory of operation. *Inside* is a least fixpoint over strong edges, so what becomes of a weak
edge depends on the graph and the policy alone, and never on what a pickler happens to meet first;
and a pickler writes while it walks. So a `Session` lets it write into a `Place` that can be taken
back, with a walk that answers for each object (`reducer_override`), in three steps (`Writing`):

1. write with a reach that grows (`FirstWalk`): what was met is inside, all else is open;
2. if anything stayed open and mattered, complete the reach;
3. write with the reach complete (`SecondWalk`): each decision is final.

A worked example, ``dumps([r, o])`` with ``r = weakref.ref(o)`` and ``o`` plain, by cloudpickle:

- The first walk is asked for ``r``. Its referent was not met: `decide` says `OPEN`, which is
  written as if it dangled, and a second walk is certain, since a snapshot is what the policy
  chooses else. It is asked for ``o``, and notes it. With the root the reach is complete. (As ``o``
  is plain, the plug `look_ahead` finds it in place of the rest of that walk.)
- The second walk writes the `envelope` ``getitem([root, ...], 0)``. It is asked for ``r``, whose
  referent is inside: `INSIDE`, a link, which `encode` writes as a call of ``ref`` on the *shell* of
  ``o``, the construction without the state, since ``o`` itself is met later::

      operator getitem ( [ [ weakref ReferenceType ( Class () NEWOBJ ) REDUCE,
                             max ( (memo of o,) ) REDUCE  state BUILD ],
                           list () REDUCE ] 0 ) REDUCE

  (The first list in the envelope is the root; the empty one stands where snapshots would be
  finished.)

- It is asked for ``o`` itself, which has a shell: ``max((shell,))`` *is* the copy that exists
  already, and the state is put there, where stock pickle puts it.

What can fail after that is a snapshot; then a `survey` finds which, and it starts over, wiser. When
a session ends, whichever way, it takes itself apart: nothing of the payload outlives the dump.
"""

from __future__ import annotations

from weakreduce.core import blame, notes, watchers, words
from weakreduce.core.adapter import Adapter
from weakreduce.core.sink import Place
from weakreduce.core.walk import Lost, Refused
from weakreduce.core.watches import Payload, Watch
from weakreduce.core.writing import Writing
from weakreduce.model import homes
from weakreduce.model.policies import Policy


def run(adapter: Adapter, place: Place, root: object, watch: Watch | None = None) -> None:
    """Dump `root` under the policy in force; its payload goes to the file, or nothing does.

    Who calls puts the pickler back.

    Raises:
        WeakrefPicklingError: where the policy refuses.
        Exception: whatever stock raises for what is not weak.
    """
    if watch is None:
        watch = watchers.watch_for(place.file)
        if watch is not None:
            with watchers.watching(watch):
                run(adapter, place, root, watch)
            return
    session = Session(adapter, place, root, watch)
    found: Exception | None = None
    try:
        try:
            lost = session.write()
            if session.first_walk is not None:
                session.conclude(lost)
            place.deliver()
        except BaseException as error:
            found = session.explained(error)
            if found is None:
                raise
        # Not in the handler: its context would be our signal, with all frames, and so the payload.
        if found is not None:
            raise found from found.__cause__
    finally:
        del found  # or it would keep this frame
        session.take_apart()


class Session(Writing):
    """One dump of one pickler: what is written, and what becomes of that or of an error."""

    #: What was written, while others weigh with the pickler.
    _weighed: Payload | None = None

    def conclude(self, lost: list[Lost]) -> None:
        """Tell who is to know of a payload that is written, and of what it has lost."""
        watch, ran = self.watch, self.walks[-1]
        dropped = list(self.facts.dropped.values())
        if ran.numbered and not self._is_quiet():
            homes.sent(ran.numbered)
        if watch is not None:
            watch.finish(self, self.root, dropped)
            if self._weighed is not None:
                self.put_back(self._weighed)  # a lack of memory, which a watch survives, came first
        if (lost or dropped) and not self._is_quiet():
            words.warn(self.root, lost, dropped)

    def _is_quiet(self) -> bool:
        """Whether the payload is for a report alone: nobody is to load it."""
        return watchers.around.get() is False if self.watch is None else self.watch.quiet

    def explained(self, error: BaseException) -> Exception | None:
        """The error that the user is to see instead of ours; nothing was written."""
        found: Exception | None = None
        root, watch = self.root, self.watch
        if isinstance(error, Refused):
            if watch is not None:
                watch.see(error.edge, error.decision)
            found = words.refusal(self.policy, root, error.edge, error.decision)
            found.__cause__ = error.__cause__
        seen_error = error if found is None else found
        if self.place.limit is not None:
            return found  # who measures wants no more than that
        notes.clean(seen_error)
        if found is not None and found.__cause__ is not None:
            notes.clean(found.__cause__)
        if isinstance(seen_error, Exception):
            ran = self.last_walk()
            prober = self.prober(ran.reach, goes_on=True)
            try:
                culprit = blame.note(prober, ran, root, seen_error)
                if watch is not None:
                    watch.fail(self, root, seen_error, culprit)
            finally:
                prober.take_apart()
        return found

    # --- what a watch may ask (`watches.Dump`) --------------------------------------------

    @property
    def policy(self) -> Policy:
        """The policy that the dump is under."""
        return self.facts.policy

    @property
    def host(self) -> str:
        """The name of the host."""
        return self.adapter.host_module.rpartition(".")[0] or "pickle"

    def by_name(self, obj: object) -> bool:
        """Whether the pickler writes a class, function or module as a name."""
        return self.adapter.by_name(obj)

    def size(self) -> int:
        """Bytes that are written."""
        return self.place.size()

    def payload(self) -> Payload:
        """What is written, to be put back after `weigh`."""
        found = Payload(*self.place.keep(), self.adapter.memo(), len(self.adapter.memo_before()))
        if self._weighed is None:  # else it is what one weighing has left
            self._weighed = found
        return found

    def put_back(self, payload: Payload) -> None:
        """Leave the dump as it was when it gave this payload."""
        self.place.restore(payload[:2])
        self.adapter.reset(payload.memo)
        self._weighed = None

    def weigh(self, obj: object, limit: float | None, *, with_snapshots: bool) -> int | None:
        """Bytes of the pickle of `obj` by this pickler; None where that is too large, or fails.

        The payload is lost, and `size` is what was written for `obj` alone.

        Args:
            obj: what is weighed.
            limit: bytes; None for no limit.
            with_snapshots: whether they travel; else they dangle.
        """
        place, buffers = self.place, self.place.buffers
        met_buffers = 0 if buffers is None else len(buffers.met)
        place.buffers, place.limit = None, limit
        facts = self.facts.to_measure(with_snapshots=with_snapshots)
        inner = Writing(self.adapter, place, obj, facts=facts)
        try:
            with watchers.watching(False):
                inner.write()
            return place.size()
        except Exception:  # noqa: BLE001 - it is in the payload all the same: no size, no harm
            return None
        finally:
            place.buffers, place.limit = buffers, None
            if buffers is not None:
                del buffers.met[met_buffers:]
            inner.take_apart()
