"""The newest item first, commands in between, and nothing left hanging."""

from __future__ import annotations

import threading
from concurrent.futures import CancelledError
from typing import Any

import pytest
from waiting import DEADLINE_S, wait_until

from distill_tracker_ros.nodes.worker import MOST_COMMANDS, Busy, Worker


class Gate:
    """Work that says when it has begun and goes on when it is let."""

    def __init__(self) -> None:
        self.handled: list[Any] = []
        self.begun, self.open = threading.Semaphore(0), threading.Semaphore(0)

    def __call__(self, item: Any) -> None:
        self.begun.release()
        assert self.open.acquire(timeout=DEADLINE_S)
        self.handled.append(item)


def test_only_the_newest_waits_and_all_leave_in_order() -> None:
    gate, left = Gate(), []
    worker: Worker[int] = Worker(gate, left.append)
    assert worker.offer(1) is False
    assert gate.begun.acquire(timeout=DEADLINE_S)
    assert [worker.offer(n) for n in (2, 3, 4)] == [False, True, True]
    gate.open.release(2)
    worker.submit(lambda: None).result(DEADLINE_S)
    worker.stop()
    assert gate.handled == [1, 4]
    assert left == [1, 2, 3, 4]


def test_a_command_runs_after_the_item_at_work_and_in_the_same_thread() -> None:
    gate = Gate()
    worker: Worker[int] = Worker(gate)
    worker.offer(1)
    assert gate.begun.acquire(timeout=DEADLINE_S)
    future = worker.submit(lambda: (list(gate.handled), threading.current_thread().name))
    assert not future.done()
    gate.open.release()
    assert future.result(DEADLINE_S) == ([1], "tracker")
    worker.stop()


def test_a_command_that_fails_gives_its_error_and_the_worker_goes_on() -> None:
    worker: Worker[int] = Worker(lambda item: None)
    with pytest.raises(ZeroDivisionError):
        worker.submit(lambda: 1 // 0).result(DEADLINE_S)
    assert worker.submit(lambda: 7).result(DEADLINE_S) == 7
    worker.stop()


def test_an_item_that_fails_is_told_and_the_worker_goes_on() -> None:
    errors: list[Exception] = []

    def handle(item: int) -> None:
        raise RuntimeError(f"item {item}")

    worker: Worker[int] = Worker(handle, failed=errors.append)
    for item in (1, 2):
        worker.offer(item)
        worker.submit(lambda: None).result(DEADLINE_S)
    worker.stop()
    assert [str(error) for error in errors] == ["item 1", "item 2"]


def test_a_withdrawn_command_does_not_run() -> None:
    gate, ran = Gate(), []
    worker: Worker[int] = Worker(gate)
    worker.offer(1)
    assert gate.begun.acquire(timeout=DEADLINE_S)
    assert worker.submit(lambda: ran.append(1)).cancel()
    gate.open.release()
    worker.submit(lambda: None).result(DEADLINE_S)
    worker.stop()
    assert ran == []


def test_commands_do_not_pile_up() -> None:
    gate, ran = Gate(), []
    worker: Worker[int] = Worker(gate)
    worker.offer(1)
    assert gate.begun.acquire(timeout=DEADLINE_S)
    futures = [worker.submit(lambda n=n: ran.append(n)) for n in range(MOST_COMMANDS + 3)]
    for future in futures[MOST_COMMANDS:]:
        with pytest.raises(Busy, match="commands are waiting"):
            future.result(0)
    gate.open.release()
    futures[MOST_COMMANDS - 1].result(DEADLINE_S)
    worker.submit(lambda: None).result(DEADLINE_S)
    worker.stop()
    assert ran == list(range(MOST_COMMANDS))


def test_an_item_does_not_wait_for_all_commands() -> None:
    """Commands that last long came one after the other, and images were lost meanwhile."""
    gate, order = Gate(), []
    worker: Worker[int] = Worker(lambda item: (gate(item), order.append(item)))
    worker.offer(0)
    assert gate.begun.acquire(timeout=DEADLINE_S)

    def command(name: str) -> None:
        order.append(name)
        worker.offer(len(order))

    futures = [worker.submit(lambda n=n: command(n)) for n in "abc"]
    for _ in range(4):
        gate.open.release()
    futures[-1].result(DEADLINE_S)
    worker.stop()
    assert order[:6] == [0, "a", 2, "b", 4, "c"]


def test_discard_empties_the_waiting_place() -> None:
    gate, left = Gate(), []
    worker: Worker[int] = Worker(gate, left.append)
    worker.offer(1)
    assert gate.begun.acquire(timeout=DEADLINE_S)
    worker.offer(2)
    assert [worker.discard(), worker.discard()] == [True, False]
    gate.open.release()
    worker.submit(lambda: None).result(DEADLINE_S)
    worker.stop()
    assert (gate.handled, left) == ([1], [1, 2])


def test_stop_cancels_what_has_not_begun_and_what_comes_later() -> None:
    gate = Gate()
    worker: Worker[int] = Worker(gate)
    worker.offer(1)
    assert gate.begun.acquire(timeout=DEADLINE_S)
    waiting = worker.submit(lambda: 1)
    stopper = threading.Thread(target=worker.stop)
    stopper.start()
    wait_until(lambda: worker.stopped, "the worker to be told")
    gate.open.release()
    stopper.join(DEADLINE_S)
    for future in (waiting, worker.submit(lambda: 2)):
        with pytest.raises(CancelledError):
            future.result(DEADLINE_S)
