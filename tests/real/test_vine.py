"""vine, of Celery and kombu: ``promise(weak=True)`` keeps its function by WeakMethod or ref.

``promise._get_fun_or_weakref`` in ``vine/promises.py``.
"""

from __future__ import annotations

import journey
from vine import promise


class Order:
    def __init__(self) -> None:
        self.paid: list[int] = []
        self.on_paid = promise(self.pay, weak=True)

    def pay(self, amount: int) -> None:
        self.paid.append(amount)


def works(order: Order) -> None:
    order.on_paid(3)
    assert order.paid == [3]
    assert order.on_paid.ready


def test_a_promise_is_kept_there() -> None:
    journey.refused(Order())
    journey.travels(Order, works)
