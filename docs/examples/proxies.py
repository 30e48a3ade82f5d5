"""Parts that know their application by a weakref.proxy, sent to a process.

Without weakreduce:

    AttributeError: 'Application' object has no attribute 'title'

Stock pickle looks through a proxy. Each turns into a copy of the application, and here into an
empty one, without an error until it is used. With weakreduce they are proxies of the one that
was sent.

Prints:

    proxies there: 2
    after a change: ['new', 'new']
"""

import concurrent.futures
import multiprocessing
import weakref

import weakreduce


class Application:
    def __init__(self, title):
        self.title = title
        self.parts = [Part(self), Part(self)]


class Part:
    def __init__(self, application):
        self.application = weakref.proxy(application)


def change(application):
    parts = application.parts
    proxies = sum(type(part.application) is weakref.ProxyType for part in parts)
    application.title = "new"
    return proxies, [part.application.title for part in parts]


if __name__ == "__main__":
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as executor:
        proxies, titles = executor.submit(change, Application("old")).result()
    print(f"proxies there: {proxies}")
    print(f"after a change: {titles}")
