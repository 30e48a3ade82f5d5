"""A Process that knows its supervisor weakly, under forkserver: the default from Python 3.14 on.

Without weakreduce:

    TypeError: cannot pickle 'weakref.ReferenceType' object

Under fork a Process is not pickled at all; under forkserver and spawn it is, with what it holds.
The supervisor comes along, and holds the copy of the process that runs.

Prints:

    builder works for the yard, with ['builder', 'painter']: True
    painter works for the yard, with ['builder', 'painter']: True
"""

import multiprocessing
import weakref

import weakreduce


class Supervisor:
    def __init__(self, name):
        self.name = name
        self.workers = []


class Worker(multiprocessing.Process):
    def __init__(self, name, supervisor, answers):
        super().__init__(name=name)
        self.supervisor = weakref.ref(supervisor)
        self.answers = answers
        supervisor.workers.append(self)

    def run(self):
        supervisor = self.supervisor()
        names = [worker.name for worker in supervisor.workers]
        text = f"{self.name} works for the {supervisor.name}, with {names}"
        self.answers.put(f"{text}: {self in supervisor.workers}")


if __name__ == "__main__":
    multiprocessing.set_start_method("forkserver")
    answers = multiprocessing.SimpleQueue()
    yard = Supervisor("yard")
    for worker in [Worker(name, yard, answers) for name in ("builder", "painter")]:
        worker.start()
        print(answers.get())
    for worker in yard.workers:
        worker.join()
