"""Notes in a table beside the objects, a WeakKeyDictionary, sent to a process.

Without weakreduce:

    TypeError: cannot pickle 'weakref.ReferenceType' object

The objects know nothing of the table, and it keeps none of them alive. A note refers to its object
weakly. Under "dangle" the notes on what is sent go along, and no others.

Prints:

    wheel: checked, of the same part: True, notes: 1
    notes when the part is gone: 0
"""

import concurrent.futures
import multiprocessing
import weakref

import weakreduce


class Part:
    def __init__(self, name):
        self.name = name


class Note:
    def __init__(self, part, text):
        self.part = weakref.ref(part)
        self.text = text


def read(parts, notes):
    part = parts.pop()
    note = notes[part]
    line = f"{part.name}: {note.text}, of the same part: {note.part() is part}"
    lines = [f"{line}, notes: {len(notes)}"]
    del part
    lines.append(f"notes when the part is gone: {len(notes)}")
    return lines


if __name__ == "__main__":
    wheel, wing = Part("wheel"), Part("wing")
    notes = weakref.WeakKeyDictionary()
    notes[wheel] = Note(wheel, "checked")
    notes[wing] = Note(wing, "missing")
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as executor:
        with weakreduce.policy("dangle"):
            future = executor.submit(read, [wheel], notes)
        print(*future.result(), sep="\n")
