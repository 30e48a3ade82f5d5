"""PyPubSub: topics hold their listeners by ``weakref.ref`` or ``WeakMethod``.

See ``pubsub/core/weakmethod.py`` and ``pubsub/core/listener.py``; ``topicargspec.py`` has more.
"""

from __future__ import annotations

import gc

import journey
from pubsub.core import Publisher


class Reader:
    def __init__(self) -> None:
        self.read: list[int] = []

    def on_news(self, number: int) -> None:
        self.read.append(number)


class Paper:
    def __init__(self) -> None:
        self.publisher, self.reader = Publisher(), Reader()
        self.publisher.subscribe(self.reader.on_news, "news.sport")


def make() -> Paper:
    paper = Paper()
    paper.publisher.sendMessage("news.sport", number=0)
    return paper


def works(paper: Paper) -> None:
    paper.publisher.sendMessage("news.sport", number=1)
    assert paper.reader.read == [0, 1]
    topic = paper.publisher.getTopicMgr().getTopic("news.sport")
    assert len(topic.getListeners()) == 1
    del paper.reader
    gc.collect()
    assert len(topic.getListeners()) == 0


def test_listeners_hear_there() -> None:
    journey.refused(make())
    journey.travels(make, works)
