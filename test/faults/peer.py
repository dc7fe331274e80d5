"""A stranger on the network, in a process of its own: python peer.py WHAT NUMBER [NAME OF THE CLIENT].

It prints what it saw as one line of JSON.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

import rclpy
from rclpy.node import Node
from rclpy.qos import HistoryPolicy, QoSProfile
from sensor_msgs.msg import CompressedImage
from std_msgs.msg import String
from vision_msgs.msg import BoundingBox2D, Detection2D

from distill_tracker_msgs.srv import ClearTarget, SetTarget

TRACKER = "/tracker"
PATIENCE_S = 20.0
SILENCE_S = 5.0  # after which no more answers are waited for
BOX = (28.0, 200.0, 24.0, 24.0)  # xywh, px: the target of a flight never comes there


def set_target(node: Node, number: int) -> None:
    """So many calls at once; each tells its number in the label."""
    _flood(node, SetTarget, "set_target", _designations(number))


def set_target_and_die(node: Node, number: int) -> None:
    """So many calls, and an end before the answers come."""
    client = node.create_client(SetTarget, f"{TRACKER}/set_target")
    client.wait_for_service(PATIENCE_S)
    for request in _designations(number):
        client.call_async(request)
    _say(sent=number)
    os._exit(0)


def clear_target(node: Node, number: int) -> None:
    """So many calls at once, with ids that no target has."""
    _flood(node, ClearTarget, "clear_target", (ClearTarget.Request(id=f"{n:a>256}") for n in range(number)))


def target(node: Node, number: int) -> None:
    """So many messages within a second."""
    publisher = node.create_publisher(Detection2D, f"{TRACKER}/target", QoSProfile(depth=number))
    _wait_for(publisher.get_subscription_count)
    msg, began_s = Detection2D(bbox=corner(), id="flood"), time.monotonic()
    for n in range(number):
        publisher.publish(msg)
        time.sleep(max(0.0, began_s + n / number - time.monotonic()))
    _say(sent=number)


def other_type(node: Node, seconds: int) -> None:
    """Publish what is no image on the topic of the images."""
    publisher = node.create_publisher(String, "/image", 10)
    _say(sent=1)
    for _ in range(10 * seconds):
        if not rclpy.ok():
            return
        publisher.publish(String(data="no image"))
        time.sleep(0.1)


def deaf(node: Node, seconds: int) -> None:
    """Ask for every picture, and never read one."""
    everything = QoSProfile(depth=0, history=HistoryPolicy.KEEP_ALL)
    subscription = node.create_subscription(
        CompressedImage, f"{TRACKER}/overlay/compressed", lambda msg: None, everything
    )
    _say(sent=0)
    _wait_for(lambda: not rclpy.ok(), seconds)
    del subscription


def _designations(number: int) -> Iterable[Any]:
    box = corner()
    return (SetTarget.Request(box=box, id="flood", label=str(n)) for n in range(number))


def corner() -> BoundingBox2D:
    """A box of nothing in particular."""
    box = BoundingBox2D(size_x=BOX[2], size_y=BOX[3])
    box.center.position.x, box.center.position.y = BOX[0] + BOX[2] / 2, BOX[1] + BOX[3] / 2
    return box


def _flood(node: Node, kind: type, service: str, requests: Iterable[Any]) -> None:
    """Call at once, and tell what was answered."""
    requests = list(requests)
    # Deep enough that nothing is lost on this side.
    client = node.create_client(kind, f"{TRACKER}/{service}", qos_profile=QoSProfile(depth=len(requests)))
    client.wait_for_service(PATIENCE_S)
    time.sleep(0.5)  # until the service knows its new client
    began_s = time.monotonic()
    futures = [client.call_async(request) for request in requests]
    sent_s = answered_s = time.monotonic()
    answered = 0
    while answered < len(futures) and time.monotonic() - answered_s < SILENCE_S:
        rclpy.spin_once(node, timeout_sec=0.1)
        if (now := sum(future.done() for future in futures)) > answered:
            answered, answered_s = now, time.monotonic()
    answers = {n: future.result() for n, future in enumerate(futures) if future.done()}
    accepted = [n for n, answer in answers.items() if answer.success]
    _say(
        sent=len(requests),
        sent_s=sent_s - began_s,
        answered=answered,
        answered_s=answered_s - began_s,
        busy=sum("busy" in answer.message for answer in answers.values()),
        unexplained=sum(not answer.message for answer in answers.values()),
        accepted=len(accepted),
        newest=max(accepted, default=-1),
    )


def _wait_for(condition: Callable[[], Any], most_s: float = PATIENCE_S) -> None:
    end_s = time.monotonic() + most_s
    while not condition() and time.monotonic() < end_s:
        time.sleep(0.01)


def _say(**what: float) -> None:
    print(json.dumps(what), flush=True)


if __name__ == "__main__":
    rclpy.init()
    with suppress(KeyboardInterrupt):
        globals()[sys.argv[1]](rclpy.create_node("peer"), int(sys.argv[2]))
    rclpy.try_shutdown()
