"""The web node between real nodes, a camera and the tracker, and viewers over real sockets."""

from __future__ import annotations

import ros_needed  # noqa: F401  isort: skip

import base64
import itertools
import json
import os
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import cv2
import numpy as np
import psutil
import pytest
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rcl_interfaces.msg import Log
from rcl_interfaces.srv import SetParameters
from rclpy.node import Node, NodeNameNonExistentError
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from ros_harness import ROOT, Client, NodeProcess, compressed_msg, domain_id, running
from sensor_msgs.msg import CompressedImage
from synthetic import moving_square
from waiting import wait_until

pytest.importorskip("aiohttp", reason="aiohttp is missing: it is among the requirements of operators")
from pages import Page, Picture

from distill_tracker_msgs.msg import TrackerStatus
from distill_tracker_ros.core.boxes import iou
from distill_tracker_ros.nodes.options import flat
from distill_tracker_ros.nodes.running import NodeError
from distill_tracker_ros.nodes.web_node import WebNode, WebOptions

pytestmark = pytest.mark.ros

RATE_HZ = 10.0
WIDTH, HEIGHT, SHOWN_WIDTH = 320, 240, 160
KEPT = QoSProfile(depth=1000, durability=DurabilityPolicy.TRANSIENT_LOCAL)  # what was said before, too
BEST_EFFORT = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("onnx", reason="onnx is missing: it is among the test requirements")
    from tiny_bundle import write_tiny_bundle

    return write_tiny_bundle(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def camera(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    """A red square that goes round and round."""
    folder = tmp_path_factory.mktemp("camera")
    (folder / "images").mkdir()
    for number, (rgb, _) in enumerate(moving_square(100, WIDTH, HEIGHT)):
        cv2.imwrite(str(folder / "images" / f"{number}.png"), rgb[..., ::-1])
    with running("video_node", folder, path=str(folder / "images"), rate=RATE_HZ, loop=True) as process:
        yield process


@contextmanager
def tracking(folder: Path, bundle: Path) -> Iterator[NodeProcess]:
    with running("tracker_node", folder, model=str(bundle), autostart=True, history__seconds=10.0) as process:
        yield process


@contextmanager
def serving(folder: Path, *arguments: str, **parameters: Any) -> Iterator[tuple[NodeProcess, str]]:
    """A web node, and where its page is."""
    with running("web_node", folder, *arguments, **{"port": 0, **parameters}) as process:
        said = "the page is at "
        wait_until(lambda: said in process.output or not process.alive, "the web node")
        assert process.alive, process.output
        yield process, process.output.split(said)[1].split()[0]


@pytest.fixture(scope="module")
def url(camera: NodeProcess, bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Of a page with a camera and a tracker."""
    folder = tmp_path_factory.mktemp("web")
    settings = {"picture__width_px": SHOWN_WIDTH, "picture__jpeg_quality": 90}
    with tracking(folder, bundle), serving(folder, **settings) as (process, url):
        with Page(url) as page:
            wait_until(lambda: page.states and page.states[-1]["tracker"] == "running", "the tracker")
        yield url
        assert process.stop() == 0


def red_box(picture: Picture) -> Any:
    """Where the square is in a picture, in pixels of the camera."""
    bgr = cv2.imdecode(np.frombuffer(picture.jpeg, np.uint8), cv2.IMREAD_COLOR).astype(int)
    rows, columns = np.nonzero((bgr[..., 2] > 150) & (bgr[..., 0] < 110))
    left, top, right, bottom = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
    scale = picture.head["width"] / bgr.shape[1]
    return np.array([left, top, right - left, bottom - top]) * scale


def next_pictures(page: Page, count: int) -> list[Picture]:
    before = len(page.pictures)
    wait_until(lambda: len(page.pictures) >= before + count, f"{count} pictures")
    return page.pictures[before : before + count]


def set_red(page: Page, **fields: Any) -> dict[str, Any]:
    picture = next_pictures(page, 1)[0]
    return page.ask("set", stamp=picture.head["stamp"], box=red_box(picture).tolist(), **fields)


class TestWithATracker:
    def test_a_target_is_marked_on_an_old_picture_followed_looked_at_and_dropped(self, url: str) -> None:
        with Page(url) as page, Page(url) as other:
            old = next_pictures(page, 10)[0]
            assert (old.head["width"], old.head["height"]) == (WIDTH, HEIGHT)
            box = red_box(old).tolist()
            answer = page.ask("set", stamp=old.head["stamp"], box=box, id="red", label="<b>")
            assert answer["success"] and answer["id"] == "red", answer
            wait_until(lambda: page.pictures[-1].head["state"]["targets"], "the target on the picture")

            pictures = next_pictures(page, 30)
            joined = [p for p in pictures if p.head["stamp"] == p.head["state"]["stamp"]]
            assert len(joined) >= 15  # the others are of images that the tracker dropped
            found = [picture.head["state"]["targets"][0] for picture in joined]
            overlaps = [iou(target["box"], red_box(p)) for target, p in zip(found, joined, strict=True)]
            assert np.median(overlaps) > 0.7 and min(overlaps) > 0.4, overlaps
            assert {(target["id"], target["label"], target["state"]) for target in found} == {
                ("red", "<b>", "TRACKING")
            }
            assert other.states[-1]["targets"][0]["id"] == "red"

            views = page.ask("views", id="red")["views"]
            assert [view["initial"] for view in views][0] and views[0]["in_template"]
            jpeg = base64.b64decode(views[0]["jpeg"])
            assert cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR) is not None

            assert other.ask("clear", id="red")["success"]
            wait_until(lambda: page.states[-1]["targets"] == [], "no targets")

    def test_the_figures_of_the_state(self, url: str) -> None:
        with Page(url) as page:
            state = wait_until(lambda: [s for s in page.states if s["rate_hz"] > 0], "a rate")[-1]
        assert state["model"] == "tiny" and state["backend"] == "onnxruntime" and state["silent_s"] < 2
        assert state["latency_ms"] > 0 and state["processing_ms"] >= 0 and 0 <= state["dropped"] <= 1

    def test_what_the_tracker_refuses_comes_in_its_words(self, url: str) -> None:
        with Page(url) as page:
            picture = next_pictures(page, 1)[0]
            here = {"stamp": picture.head["stamp"], "id": "a", "label": ""}
            for request, words in (
                ({"stamp": "1.000000000", "box": [10, 10, 50, 50]}, "older than every image"),
                ({"box": [5000, 5000, 50, 50]}, "outside"),
                ({"box": [10, 10, 1, 1]}, "at least 4 px"),
            ):
                answer = page.ask("set", **{**here, **request})
                assert not answer["success"] and words in answer["message"], answer
            assert "'nobody'" in page.ask("clear", id="nobody")["message"]
            assert "'nobody'" in page.ask("views", id="nobody")["message"]
            assert page.states[-1]["targets"] == []

    def test_images_are_taken_while_somebody_looks(self, url: str, client: Client) -> None:
        def subscribed() -> bool:
            infos = client.node.get_subscriptions_info_by_topic("/image")
            return any(info.node_name == "web" for info in infos)

        wait_until(lambda: not subscribed(), "no subscription while nobody looks")
        with Page(url) as page:
            next_pictures(page, 2)
            wait_until(subscribed, "a subscription")
            page.shows = False
            wait_until(lambda: not subscribed(), "no subscription for a page that shows nothing")
            page.shows = True
            page.send({"type": "shown", "frame": page.pictures[-1].head["frame"]})
            assert next_pictures(page, 2)
        wait_until(lambda: not subscribed(), "no subscription again")

    def test_a_viewer_that_stops_reading_costs_the_others_nothing(self, url: str, client: Client) -> None:
        statuses = client.listen(TrackerStatus, "/tracker/status")
        with Page(url) as slow, Page(url) as fast:
            next_pictures(slow, 5)

            def shares(pictures: int) -> tuple[float, float]:
                """Of the camera's images, those on the fast page, and those that the tracker processed."""
                next_pictures(fast, 1)
                wait_until(lambda: statuses, "a status")
                seen, before = len(fast.pictures), statuses[-1]
                next_pictures(fast, pictures)
                received = statuses[-1].frames_received - before.frames_received
                processed = statuses[-1].frames_processed - before.frames_processed
                return (len(fast.pictures) - seen) / received, processed / received

            usual = shares(30)
            slow.pause()
            taken = len(slow.pictures)
            meanwhile = shares(50)
            assert meanwhile[0] > 0.7 * usual[0] and meanwhile[1] > 0.7 * usual[1], (usual, meanwhile)
            assert len(slow.pictures) <= taken + 1
            newest = fast.pictures[-1].head["stamp"]
            slow.resume()
            wait_until(lambda: len(slow.pictures) > taken + 5, "pictures again")
            later = [float(picture.head["stamp"]) for picture in slow.pictures[taken:]]
            assert later == sorted(later)
            assert sum(stamp < float(newest) for stamp in later) <= 3  # that were on their way

    def test_what_it_has_on_the_graph(self, url: str, client: Client) -> None:
        """No more than this: config/security/policy.xml allows it."""
        graph = client.node

        def found(kind: str) -> set[str]:
            ask = getattr(graph, f"get_{kind}_names_and_types_by_node")
            try:
                return {name for name, _ in ask("web", "/")}
            except NodeNameNonExistentError:  # not discovered yet
                return set()

        with Page(url) as page:
            next_pictures(page, 1)
            subscribed = {"/image", "/tracker/status", "/diagnostics"}
            wait_until(lambda: found("subscriber") == subscribed, "its subscriptions")
        published = {"/diagnostics", "/rosout", "/parameter_events"}
        wait_until(lambda: found("publisher") == published, "its publishers")
        called = {f"/tracker/{name}" for name in ("set_target", "clear_target", "get_views")}
        wait_until(lambda: found("client") == called, "the services that it calls")
        assert all("parameter" in name or "type_description" in name for name in found("service"))

    def test_parameters(self, url: str, client: Client) -> None:
        def change(name: str, value: Any) -> Any:
            parameter = Parameter(name, value=value).to_parameter_msg()
            return client.call(SetParameters, "/web/set_parameters", parameters=[parameter]).results[0]

        refused = change("host", "0.0.0.0")
        assert not refused.successful and "host is fixed" in refused.reason
        assert "Max: 60.0" in change("picture.rate_hz", 900.0).reason
        with Page(url) as page:
            assert change("picture.width_px", 64).successful
            try:
                wait_until(lambda: page.pictures and len(page.pictures[-1].jpeg) < 4000, "small pictures")
            finally:
                assert change("picture.width_px", SHOWN_WIDTH).successful

    def test_diagnostics(self, url: str, client: Client) -> None:
        arrays = client.listen(DiagnosticArray, "/diagnostics")

        def newest() -> Any:
            found = [s for array in tuple(arrays) for s in array.status if s.name == "web: web"]
            return found[-1] if found else None

        with Page(url) as page, Page(url, Origin="http://evil.example"):

            def complete() -> bool:
                values = {v.key: v.value for v in newest().values} if newest() else {}
                return bool(values) and values["viewers"] == "1" and float(values["pictures_hz"]) > 1

            wait_until(complete, "figures of the web node")
            values = {value.key: value.value for value in newest().values}
            assert int(values["refused"]) >= 1 and "evil.example" in values["last_refusal"]
            assert page.states  # meanwhile

    def test_those_of_the_tracker_are_told(self, url: str, client: Client) -> None:
        publisher = client.node.create_publisher(DiagnosticArray, "/diagnostics", 10)
        from diagnostic_msgs.msg import DiagnosticStatus

        statuses = [
            DiagnosticStatus(name=name, level=DiagnosticStatus.ERROR, message="of a test")
            for name in ("tracker: test", "other: test")
        ]
        with Page(url) as page:

            def told() -> list[str]:
                publisher.publish(DiagnosticArray(status=statuses))
                return [d["name"] for d in page.states[-1]["diagnostics"] if d["message"] == "of a test"]

            assert wait_until(lambda: page.states and told(), "a diagnosis") == ["tracker: test"]
        client.node.destroy_publisher(publisher)


class TestTrackersComeAndGo:
    def test_none_then_one_then_a_silent_one_then_another(
        self, camera: NodeProcess, bundle: Path, client: Client, tmp_path: Path
    ) -> None:
        arguments = ("--ros-args", "-r", "tracker/status:=/front/status")
        for service in ("set_target", "clear_target", "get_views"):
            arguments += ("-r", f"tracker/{service}:=/front/{service}")
        with serving(tmp_path, *arguments, service_timeout_s=2.0) as (_, url), Page(url) as page:
            next_pictures(page, 3)  # without a tracker, too
            assert page.states[-1]["tracker"] == "absent"
            answer = set_red(page)
            assert not answer["success"] and "no tracker answers" in answer["message"]

            def start() -> Any:
                settings = ["-r", "__node:=front", "-p", f"model:={bundle}", "-p", "autostart:=true"]
                return running("tracker_node", tmp_path, "--ros-args", *settings)

            with start() as tracker:
                wait_until(lambda: page.states[-1]["tracker"] == "running", "a tracker")
                wait_until(lambda: set_red(page, id="red")["success"], "a target")
                wait_until(lambda: page.states[-1]["targets"], "a target in the state")

                off = Transition(id=Transition.TRANSITION_DEACTIVATE)
                assert client.call(ChangeState, "/front/change_state", transition=off).success
                wait_until(lambda: page.states[-1]["tracker"] == "silent", "silence")
                answer = set_red(page)
                assert not answer["success"] and "inactive" in answer["message"]
                assert page.states[-1]["targets"]  # the last that was heard
                tracker.kill()
            with start():
                wait_until(lambda: page.states[-1]["tracker"] == "running", "another tracker")
                wait_until(lambda: set_red(page, id="red")["success"], "a target again", 60.0)
            wait_until(lambda: page.states[-1]["tracker"] == "absent", "no tracker", 60.0)
            assert page.states[-1]["targets"] == []


class TestPictures:
    def test_a_compressed_image_is_passed_on_and_memory_stays(self, client: Client, tmp_path: Path) -> None:
        noise = np.random.default_rng(0).integers(0, 255, (600, 640, 3), np.uint8)
        jpeg = cv2.imencode(".jpg", noise, [cv2.IMWRITE_JPEG_QUALITY, 75])[1].tobytes()
        assert 200_000 < len(jpeg) < 384_000
        camera = client.node.create_publisher(CompressedImage, "/front/image/compressed", BEST_EFFORT)
        remap = ("--ros-args", "-r", "image:=/front/image")
        settings = {"image_transport": "compressed", "picture__rate_hz": 60.0}
        ended = threading.Event()

        def film() -> None:
            for number in itertools.count(1):
                camera.publish(compressed_msg(jpeg, number * 1_000_000))
                if ended.wait(0.03):
                    return

        thread = threading.Thread(target=film)
        thread.start()
        try:
            with (
                serving(tmp_path, *remap, **settings) as (process, url),
                Page(url) as slow,
                Page(url) as fast,
            ):
                assert next_pictures(fast, 5)[-1].jpeg == jpeg
                next_pictures(slow, 5)
                slow.pause()
                next_pictures(fast, 50)
                before = psutil.Process(process.pid).memory_info().rss
                for _ in range(4):
                    next_pictures(fast, 50)
                    fast.pictures.clear()
                grown = psutil.Process(process.pid).memory_info().rss - before
                assert grown < 20_000_000, f"{grown / 1e6:.1f} MB more after {200 * len(jpeg) / 1e6:.0f} MB"
                slow.resume()
                next_pictures(slow, 10)
        finally:
            ended.set()
            thread.join()
            client.node.destroy_publisher(camera)

    def test_an_image_that_cannot_be_used_is_told_and_the_next_is_shown(
        self, client: Client, tmp_path: Path
    ) -> None:
        jpeg = cv2.imencode(".jpg", np.zeros((48, 64, 3), np.uint8))[1].tobytes()
        camera = client.node.create_publisher(CompressedImage, "/image/compressed", BEST_EFFORT)
        with serving(tmp_path, image_transport="compressed") as (process, url), Page(url) as page:

            def said() -> bool:
                camera.publish(compressed_msg(b"no picture", 1))
                return "image rejected" in process.output

            wait_until(said, "a word on the bad image")

            def shown() -> bool:
                camera.publish(compressed_msg(jpeg, 2))
                return bool(page.pictures)

            wait_until(shown, "the good one")
        client.node.destroy_publisher(camera)


def test_the_table_of_parameters() -> None:
    text = (ROOT / "docs" / "web.md").read_text()
    lines = text[text.index("| parameter | type |") :].split("\n\n")[0].splitlines()[2:]
    written = [[cell.strip().strip("`") for cell in line.strip("|").split(" | ")] for line in lines]
    found = []
    for name, opt in flat(WebOptions()).items():
        default = str(opt.value).lower() if isinstance(opt.value, bool) else str(opt.value)
        wide = "" if opt.low is None else f"{opt.low:g} to {opt.high:g}"
        accepted = " or ".join(opt.accepted) or wide
        found.append([name, type(opt.value).__name__, default, accepted, opt.help])
    assert written == found


class TestStart:
    def test_a_refused_start_leaves_nothing_that_runs(self) -> None:
        before = set(threading.enumerate())
        rclpy.init(args=["--ros-args", "-p", "host:=203.0.113.7"], domain_id=domain_id())
        try:
            with (
                patch.object(Node, "destroy_node", autospec=True, side_effect=Node.destroy_node) as destroyed,
                pytest.raises(NodeError, match="is no address of this machine"),
            ):
                WebNode()
        finally:
            rclpy.try_shutdown()
        assert destroyed.call_count == 1
        assert not set(threading.enumerate()) - before

    def test_a_made_token_is_printed_and_told_to_nobody_else(self, client: Client, tmp_path: Path) -> None:
        logs = client.listen(Log, "/rosout", KEPT)
        with serving(tmp_path, host="0.0.0.0") as (_, url):
            place, token = url.split("#token=")
            local = f"http://127.0.0.1:{place.rstrip('/').rpartition(':')[2]}/"
            with Page(local, token="wrong") as page:
                assert page.wait_closed() == 4401
            with Page(local, token=token) as page:
                assert page.said("welcome")["may_command"]
            with urllib.request.urlopen(local, timeout=10) as answer:
                assert b"<html" in answer.read()
            wait_until(lambda: any("token is wrong" in line.msg for line in logs), "a line in /rosout")
        assert not any(token in line.msg for line in logs)
        others = [path for path in tmp_path.rglob("*.log") if not path.name.startswith("process_")]
        assert others and not any(token in path.read_text() for path in others)

    @pytest.mark.parametrize(
        ("parameters", "words"),
        [
            ({"host": "203.0.113.7"}, "host = '203.0.113.7' is no address of this machine"),
            ({"port": 70_000}, "port"),
            ({"max_viewers": 0}, "max_viewers"),
            ({"image_transport": "theora"}, "image_transport = 'theora': accepted is raw or compressed"),
        ],
    )
    def test_bad_parameters(self, tmp_path: Path, parameters: dict[str, Any], words: str) -> None:
        with running("web_node", tmp_path, **parameters) as process:
            assert process.wait() == 1
            assert words in process.output and "Traceback" not in process.output

    def test_a_port_in_use(self, tmp_path: Path) -> None:
        with serving(tmp_path) as (_, url):
            port = int(url.rstrip("/").rpartition(":")[2])
            with running("web_node", tmp_path, port=port) as second:
                assert second.wait() == 1
                assert f"error: port {port} of 127.0.0.1 is in use" in second.output
                assert "Traceback" not in second.output

    def test_without_aiohttp_it_says_how_to_get_it(self, tmp_path: Path) -> None:
        text = "raise ModuleNotFoundError(\"No module named 'aiohttp'\", name='aiohttp')\n"
        (tmp_path / "aiohttp.py").write_text(text)
        env = {"PYTHONPATH": f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"}
        process = NodeProcess("web_node", tmp_path, env=env)
        assert process.wait() == 1
        assert process.output.count("\n") == 1 and "python3-aiohttp" in process.output

    def test_it_ends_at_once_with_viewers_and_a_call_under_way(self, tmp_path: Path) -> None:
        with serving(tmp_path) as (process, url), Page(url) as page, Page(url) as paused:
            page.said("welcome")
            paused.pause()
            page.send(json.dumps({"type": "clear", "request": 1, "id": ""}))
            began = time.monotonic()
            assert process.stop() == 0, process.output
            assert time.monotonic() - began < 10 and "Traceback" not in process.output
            page.wait_closed()
