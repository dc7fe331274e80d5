"""The operator's page in a real browser, on real nodes: a camera, the shipped model, the web node."""

from __future__ import annotations

import ros_needed  # noqa: F401  isort: skip

import json
import os
import shutil
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from filmed import HEIGHT, WIDTH, cut_out, film, ground, truth
from rclpy.qos import QoSProfile
from ros_harness import Client, NodeProcess, running
from sensor_msgs.msg import CameraInfo
from skimage import data
from std_srvs.srv import SetBool
from tracker_double import status, target
from vision_msgs.msg import BoundingBox2D
from waiting import wait_until

from distill_tracker_msgs.msg import TrackerStatus
from distill_tracker_msgs.srv import ClearTarget, SetTarget
from distill_tracker_ros.core.boxes import iou
from distill_tracker_ros.messages import fill_box, stamp_ns
from distill_tracker_ros.runtime.load import ON_CPU
from distill_tracker_ros.video import VideoWriter
from distill_tracker_ros.web import protocol
from distill_tracker_ros.web.state import Board

pytest.importorskip("aiohttp", reason="aiohttp is missing: it is among the requirements of operators")
playwright = pytest.importorskip(
    "playwright.sync_api", reason="playwright is missing: it is among the test requirements"
)
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    pytest.mark.ros,
    pytest.mark.skipif(BROWSER is None, reason="no browser: install chromium of your distribution"),
]

FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)
RATE_HZ = 8.0  # so that two processors are enough for the tracker and the browser
FRAMES = 440  # a round of everything that moves, so that the video can be repeated
FOLLOWED = 100
DESK, PHONE = (1280, 720), (390, 844)
DEADLINE_S = 40.0
HISTORY_S = 5.0  # more than usual: the machine may be slow at drawing a box
TRANSPORT = {"image_transport": "compressed"}

Box = Sequence[float]  # left, top, width, height in pixels of the camera


class Camera:
    """The video, and which of its frames a stamp belongs to."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "clip.mp4"
        angle = np.arange(FRAMES) / FRAMES * 2 * np.pi
        paths = (
            (320 + 170 * np.sin(angle), 240 + 120 * np.cos(angle)),
            (
                320 - 230 * np.sin(angle),
                240 - 180 * np.cos(angle),
            ),
        )
        photos = (data.astronaut(), (165, 30, 105, 130)), (data.coffee(), (170, 15, 245, 235))
        things = [
            cut_out(*photo, 60, np.stack(path, axis=1)) for photo, path in zip(photos, paths, strict=True)
        ]
        self._truth = [truth(things, index) for index in range(2)]
        with VideoWriter(self.path, RATE_HZ) as video:
            for rgb in film(ground(data.grass()), things):
                video.write(rgb[..., ::-1])
        self._numbers: dict[int, int] = {}  # by stamps

    @property
    def has_begun(self) -> bool:
        return bool(self._numbers)

    def heard(self, info: CameraInfo) -> None:
        """Of every frame, in their order."""
        self._numbers.setdefault(stamp_ns(info.header.stamp), len(self._numbers))

    def frame(self, stamp: str) -> int:
        """Its number; the video is repeated. A busy machine shows it before this process hears of it."""
        key = nanoseconds(stamp)
        wait_until(lambda: key in self._numbers, "the camera_info of a picture")
        return self._numbers[key] % FRAMES

    def box(self, stamp: str, thing: int = 0) -> Box:
        return [float(v) for v in self._truth[thing][self.frame(stamp)]]


@dataclass
class Stack:
    """The nodes, and a client of theirs."""

    client: Client
    camera: Camera
    folder: Path
    url: str
    statuses: list[TrackerStatus]
    tracker: ExitStack = field(default_factory=ExitStack)

    def start_tracker(self) -> None:
        settings = {"model": ON_CPU, "backend": "onnxruntime", "history__seconds": HISTORY_S} | TRANSPORT
        self.process = self.tracker.enter_context(
            running("tracker_node", self.folder, autostart=True, **settings)
        )

    @property
    def now_ns(self) -> int:
        """Stamp of the newest image that was tracked on."""
        return stamp_ns(self.statuses[-1].header.stamp)

    def targets(self) -> dict[str, Any]:
        return {target.id: target for target in self.statuses[-1].targets}


def nanoseconds(stamp: str) -> int:
    """Of a stamp as the page writes it."""
    return int(stamp.replace(".", ""))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def web_node(folder: Path, port: int, **parameters: Any) -> Iterator[NodeProcess]:
    settings = {"port": port} | TRANSPORT | parameters
    with running("web_node", folder, **settings) as process:
        wait_until(lambda: not process.alive or _listens(port), "the web server", DEADLINE_S)
        yield process


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("flight")
    camera, client, port = Camera(folder), Client(), free_port()
    client.node.create_subscription(CameraInfo, "/camera_info", camera.heard, QoSProfile(depth=100))
    video = {"path": str(camera.path), "loop": True, "start_paused": True, "transport": "compressed"}
    statuses = client.listen(TrackerStatus, "/tracker/status")
    stack = Stack(client, camera, folder, f"http://127.0.0.1:{port}/", statuses)
    with running("video_node", folder, **video), web_node(folder, port), stack.tracker:
        stack.start_tracker()
        wait_until(lambda: camera.has_begun and stack.statuses, "the first image", DEADLINE_S)
        assert client.call(SetBool, "/video/pause", data=False).success
        yield stack
    client.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as engine:
        browser = engine.chromium.launch(executable_path=BROWSER, args=FLAGS.split())
        yield browser
        browser.close()


class Viewer:
    """A page, and what a person does and sees there."""

    def __init__(
        self, browser: Any, url: str, camera: Camera, size: tuple[int, int] = DESK, **more: Any
    ) -> None:
        self._context = browser.new_context(viewport={"width": size[0], "height": size[1]}, **more)
        self.camera = camera
        self.page = self._context.new_page()
        self.errors: list[str] = []
        self._sent: list[dict[str, Any]] = []
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", self._on_console)
        self.page.on("websocket", lambda socket: socket.on("framesent", self._on_sent))
        self.page.goto(url)

    def close(self) -> None:
        self._context.close()

    def _on_console(self, message: Any) -> None:
        # A browser reports connections that it could not make; the page tells them in its own words.
        if message.type == "error" and "WebSocket" not in message.text:
            self.errors.append(message.text)

    def _on_sent(self, frame: str | bytes) -> None:
        message = json.loads(frame)
        if message["type"] in ("set", "clear"):
            self._sent.append(message)

    # What is seen.

    def text(self, selector: str) -> str:
        return str(self.page.locator(selector).inner_text())

    def wait_for(self, selector: str, text: str = "", deadline_s: float = DEADLINE_S) -> None:
        """Until something that is visible has a text."""
        found = self.page.locator(selector).filter(has_text=text).filter(visible=True).first
        found.wait_for(timeout=deadline_s * 1000)

    @property
    def stamp(self) -> str:
        """Of the picture on the screen."""
        return self.page.locator("#picture").get_attribute("data-stamp") or ""

    def boxes(self) -> dict[str, Box]:
        """Those over the picture, by id."""
        return self.page.evaluate(BOXES)

    def overlap(self, id: str, thing: int = 0) -> float:
        """IoU of a box over the picture with the truth."""
        self.page.evaluate(RECORD)
        stamp, boxes = self.page.evaluate("recorded[0]")
        return float(iou(boxes[id], self.camera.box(stamp, thing)))

    def refusals(self) -> list[str]:
        return list(self.page.locator("#log .error").all_inner_texts())

    def wait_live(self) -> None:
        self.wait_for("#link", "LIVE")

    def on_screen(self, x: float, y: float) -> tuple[float, float]:
        """Where a pixel of the camera is on the screen."""
        stage = self.page.locator("#stage").bounding_box()
        return stage["x"] + x * stage["width"] / WIDTH, stage["y"] + y * stage["height"] / HEIGHT

    @property
    def sent(self) -> list[dict[str, Any]]:
        """The commands so far."""
        self.page.evaluate("0")  # what the browser reports is taken while something is asked
        return self._sent

    # What is done.

    def press(self, thing: int = 0) -> str:
        """Put the mouse down on the upper left corner of what moves; the stamp of the held picture."""
        mouse = self.page.mouse
        for _ in range(20):
            left, top, *_ = self.camera.box(self.stamp, thing)
            mouse.move(*self.on_screen(left, top))
            mouse.down()
            held = self.camera.box(self.stamp, thing)
            if np.hypot(held[0] - left, held[1] - top) < 5:
                return self.stamp
            self.page.keyboard.press("Escape")  # the picture went on before the finger was down: once more
            mouse.up()
        raise AssertionError("the page is too slow to draw on what moves")

    def fingers(self) -> Callable[..., None]:
        """Moves fingers: touchStart, touchMove, touchEnd with the places of those that are down then."""
        touch = self.page.context.new_cdp_session(self.page)

        def send(kind: str, *places: tuple[float, float]) -> None:
            points = [{"x": x, "y": y, "id": number} for number, (x, y) in enumerate(places)]
            touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

        return send

    def draw(self, thing: int = 0) -> str:
        """Draw a box around what moves; the stamp of the picture it was drawn on."""
        stamp = self.press(thing)
        left, top, width, height = self.camera.box(stamp, thing)
        self.page.mouse.move(*self.on_screen(left + width / 2, top + height / 2))
        self.page.mouse.move(*self.on_screen(left + width, top + height))
        assert self.stamp == stamp, "the picture did not hold still"
        self.page.mouse.up()
        return stamp

    def follow(self, thing: int = 0) -> str:
        """Draw a box around what moves, and wait for its target: the id."""
        before, refused = set(self.boxes()), self.refusals()
        self.draw(thing)
        wait_until(lambda: set(self.boxes()) != before or self.refusals() != refused, "a box", DEADLINE_S)
        if self.refusals() != refused:  # a node that was started just now may not know the other yet
            assert "no tracker answers" in self.refusals()[0], self.refusals()
            return self.follow(thing)
        (id,) = set(self.boxes()) - before
        return str(id)

    def watch(self, frames: int) -> list[tuple[str, dict[str, Box]]]:
        """Stamp and boxes of so many pictures, as they stand on the screen."""
        self.page.evaluate(RECORD)
        wait_until(lambda: self.page.evaluate("recorded.length") >= frames, "pictures", 5 * frames / RATE_HZ)
        return [(stamp, boxes) for stamp, boxes in self.page.evaluate("recorded")]


BOXES = """() => Object.fromEntries([...document.querySelectorAll("#boxes g")].map((group) => {
  const line = group.querySelector(".line");
  return [group.dataset.id, ["x", "y", "width", "height"].map((name) => Number(line.getAttribute(name)))];
}))"""
TOO_SMALL = """(all) => all.filter((one) => Math.min(one.offsetWidth, one.offsetHeight) < 40)
  .map((one) => one.outerHTML)"""
RECORD = f"""() => {{
  const boxes = {BOXES}, canvas = document.querySelector("#picture");
  globalThis.recorded = [];
  const look = () => {{
    const stamp = canvas.dataset.stamp;
    if (stamp !== recorded.at(-1)?.[0]) recorded.push([stamp, boxes()]);
    requestAnimationFrame(look);
  }};
  look();
}}"""


@pytest.fixture
def viewers(stack: Stack, browser: Any) -> Iterator[Any]:
    """Opens pages, with no targets at first; none may have had an error."""
    assert stack.client.call(ClearTarget, "/tracker/clear_target").success
    wait_until(lambda: not stack.targets(), "no targets")
    opened: list[Viewer] = []

    def open_(url: str = stack.url, **context: Any) -> Viewer:
        opened.append(Viewer(browser, url, stack.camera, **context))
        return opened[-1]

    yield open_
    errors = [error for viewer in opened for error in viewer.errors]
    for viewer in opened:
        viewer.close()
    assert errors == []


@pytest.fixture
def viewer(viewers: Any) -> Viewer:
    viewer = viewers()
    viewer.wait_live()
    return viewer


def test_a_box_drawn_on_what_moves_is_followed(stack: Stack, viewer: Viewer, tmp_path: Path) -> None:
    assert "Draw a box" in viewer.text("#panel")
    stamp = viewer.draw()
    wait_until(lambda: viewer.sent, "the command")
    assert viewer.sent[0]["stamp"] == stamp
    assert iou(viewer.sent[0]["box"], viewer.camera.box(stamp)) > 0.7
    viewer.wait_for("#boxes .tracking.selected")
    (id,) = viewer.boxes()
    pictures = viewer.watch(FOLLOWED)
    overlaps = [iou(boxes[id], viewer.camera.box(stamp)) for stamp, boxes in pictures if id in boxes]
    assert len(overlaps) == len(pictures) >= FOLLOWED
    assert np.mean(np.array(overlaps) >= 0.5) >= 0.95
    stamps = [nanoseconds(stamp) for stamp, _ in pictures]
    assert stamps == sorted(set(stamps)), "an old picture came after a newer one"

    viewer.wait_for("#targets .selected .state", "TRACKING")
    viewer.wait_for("#targets .views figure.initial", "marked")
    assert viewer.page.locator(".views img").first.evaluate("(image) => image.naturalWidth") > 16
    viewer.wait_for("#measures", ON_CPU)
    viewer.page.screenshot(path=tmp_path / "desk.png")


def test_targets_are_selected_marked_again_and_dropped(stack: Stack, viewer: Viewer) -> None:
    page = viewer.page
    first, second = viewer.follow(0), viewer.follow(1)
    viewer.wait_for(f"#boxes .selected[data-id='{second}']")
    left, top, width, height = viewer.boxes()[first]
    page.mouse.click(*viewer.on_screen(left + width / 2, top + height / 2))
    viewer.wait_for(f"#boxes .selected[data-id='{first}']")
    viewer.wait_for(f"#targets .selected[data-id='{first}'] .views figure")
    line = page.locator(f"#targets [data-id='{first}'] canvas.line")
    begun = line.get_attribute("aria-label")
    wait_until(lambda: line.get_attribute("aria-label") != begun, "a longer time line")

    # Marked again on the other thing, it is the same target; with no view of the first one.
    page.get_by_role("button", name="Mark again").filter(visible=True).click()
    viewer.wait_for("#task", "Draw the new box")
    stamp = viewer.draw(1)
    wait_until(lambda: len(viewer.sent) == 3, "the command")
    assert (viewer.sent[2]["id"], viewer.sent[2]["stamp"]) == (first, stamp)
    wait_until(lambda: viewer.overlap(first, 1) > 0.5, "its new place", DEADLINE_S)
    assert set(viewer.boxes()) == {first, second}
    assert page.locator("#task").is_hidden(), "the next box is a new target again"

    page.get_by_role("button", name="Drop", exact=True).filter(visible=True).click()
    wait_until(lambda: set(viewer.boxes()) == {second} == set(stack.targets()), "one target", DEADLINE_S)
    assert page.locator("#targets .selected").count() == 0
    viewer.wait_for("#log", "1 target(s) cleared")

    page.get_by_role("button", name="Drop all").first.click()
    viewer.wait_for("#confirm", "Drop the one target?")
    page.get_by_role("button", name="Keep them").click()
    page.get_by_role("button", name="Drop all").first.click()
    page.locator("#confirm-yes").click()
    wait_until(lambda: not viewer.boxes() and not stack.targets(), "no target", DEADLINE_S)
    assert [message["type"] for message in viewer.sent] == ["set"] * 3 + ["clear"] * 2


def test_keys_select_drop_and_give_up(stack: Stack, viewer: Viewer) -> None:
    keys = viewer.page.keyboard
    first, second = viewer.follow(0), viewer.follow(1)
    viewer.wait_for(f"#targets .selected[data-id='{second}']")
    keys.press("Escape")
    assert viewer.page.locator(".selected").count() == 0
    keys.press("ArrowDown")
    viewer.wait_for(f"#targets .selected[data-id='{first}']")
    keys.press("ArrowUp")
    viewer.wait_for(f"#boxes .selected[data-id='{second}']")
    keys.press("m")
    viewer.wait_for("#task", "Draw the new box")
    keys.press("Escape")
    viewer.wait_for(f"#boxes .selected[data-id='{second}']")
    assert viewer.page.locator("#task").is_hidden()

    keys.press("Delete")
    wait_until(lambda: set(viewer.boxes()) == {first}, "one box", DEADLINE_S)
    keys.press("?")
    viewer.wait_for("#help", "Using this page")
    keys.press("Delete")
    keys.press("Escape")
    assert viewer.page.locator("#help").is_hidden()

    viewer.press(1)
    viewer.page.mouse.move(*viewer.on_screen(320, 240))
    viewer.wait_for("#boxes .draft")
    keys.press("Escape")
    viewer.page.mouse.up()
    assert viewer.page.locator("#boxes .draft").count() == 0
    assert [message["type"] for message in viewer.sent] == ["set", "set", "clear"]

    # By keys alone to the row, and its button.
    keys.press("ArrowDown")
    viewer.page.get_by_role("button", name="Drop", exact=True).filter(visible=True).focus()
    keys.press("Enter")
    wait_until(lambda: not stack.targets(), "no target")


def test_what_is_refused_is_told_in_words(stack: Stack, viewer: Viewer) -> None:
    mouse = viewer.page.mouse
    mouse.move(*viewer.on_screen(100, 100))
    mouse.down()
    mouse.move(*viewer.on_screen(200, 101))
    mouse.up()
    viewer.wait_for(".toast.warn", "is too small")
    assert viewer.sent == []

    # Held for too long: the tracker remembers that picture no more. The page warns, the tracker refuses.
    stamp = viewer.press()
    mouse.move(*viewer.on_screen(320, 240))
    viewer.wait_for("#task.off", "let go now")
    viewer.wait_for("#link", "HELD")
    wait_until(lambda: stack.now_ns > nanoseconds(stamp) + (HISTORY_S + 1) * 1e9, "the time it remembers")
    mouse.up()
    viewer.wait_for(".toast.error", "is older than every image that is kept")
    viewer.wait_for("#log .error", "not marked")
    assert viewer.sent[0]["stamp"] == stamp
    assert not stack.targets()


def test_a_label_of_others_is_text(stack: Stack, viewer: Viewer) -> None:
    evil = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"
    fill_box(box := BoundingBox2D(), viewer.camera.box(viewer.stamp))
    names = {"id": "<b>1</b>", "label": evil}
    answer = stack.client.call(SetTarget, "/tracker/set_target", box=box, **names)
    assert answer.success, answer.message
    viewer.wait_for("#targets .target", f"<b>1</b> {evil}")
    viewer.wait_for("#boxes text", "<b>1</b> <img")
    viewer.wait_for("#log", "<b>1</b>")
    viewer.page.locator("#targets .target").click()
    viewer.wait_for("#targets .selected .views figure")
    assert viewer.page.locator("#targets b b, #targets script, #log b, .toast b").count() == 0
    assert viewer.page.title() == "Tracker"


def test_a_label_goes_with_the_next_target_alone(stack: Stack, viewer: Viewer) -> None:
    viewer.page.get_by_label("Label of the next target").fill("red car")
    id = viewer.follow()
    assert stack.targets()[id].label == "red car"
    viewer.wait_for("#targets .target", "red car")
    assert viewer.page.get_by_label("Label of the next target").input_value() == ""


def test_two_viewers_see_the_same(viewers: Any, viewer: Viewer) -> None:
    other = viewers(size=(900, 700))
    other.wait_live()
    id = viewer.follow()
    assert wait_until(other.boxes, "the other's box", DEADLINE_S).keys() == {id}
    other.wait_for(f"#targets [data-id='{id}'] .state", "TRACKING")
    other.page.locator("#targets .target").click()
    other.page.keyboard.press("Delete")
    wait_until(lambda: not viewer.boxes(), "no box", DEADLINE_S)
    viewer.wait_for("#log", "was cleared")


def test_a_finger_draws_two_look_closer(viewers: Any, tmp_path: Path) -> None:
    viewer = viewers(size=PHONE, has_touch=True, is_mobile=True, device_scale_factor=2)
    viewer.wait_live()
    page = viewer.page
    page.screenshot(path=tmp_path / "phone_empty.png")
    small = page.locator("button, input").filter(visible=True).evaluate_all(TOO_SMALL)
    assert small == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    fingers = viewer.fingers()

    def drag() -> str:
        """A finger on the moving thing, pulled over it, still down; the stamp of the held picture."""
        left, top, width, height = viewer.camera.box(viewer.stamp)
        fingers("touchStart", viewer.on_screen(left, top))
        stamp = viewer.stamp
        left, top, width, height = viewer.camera.box(stamp)
        for share in (0.5, 1.0):
            fingers("touchMove", viewer.on_screen(left + share * width, top + share * height))
        return stamp

    drag()  # given up by a second finger, and what two do then makes no box
    one, two = viewer.on_screen(300, 240), viewer.on_screen(340, 240)
    fingers("touchStart", one, two)
    wide = page.locator("#stage").bounding_box()["width"]
    fingers("touchMove", (one[0] - 20, one[1]), (two[0] + 20, two[1]))
    wait_until(lambda: page.locator("#stage").bounding_box()["width"] > 1.5 * wide, "a closer look")
    fingers("touchEnd", one)
    fingers("touchEnd")
    page.get_by_role("button", name="Whole picture").tap()
    wait_until(lambda: page.locator("#stage").bounding_box()["width"] == wide, "the whole picture")
    assert page.locator("#whole").is_hidden()
    assert viewer.sent == []

    page.get_by_label("Label of the next target").tap()
    stamp = drag()
    assert page.evaluate("document.activeElement === document.body"), "the keyboard would cover the picture"
    fingers("touchEnd")
    wait_until(lambda: viewer.sent, "the command")
    assert viewer.sent[0]["stamp"] == stamp
    viewer.wait_for("#boxes .selected")
    page.locator("#targets .target").tap()
    wait_until(lambda: page.locator("#boxes .selected").count() == 0, "no selection")
    left, top, width, height = next(iter(viewer.boxes().values()))
    page.touchscreen.tap(*viewer.on_screen(left + width / 2, top + height / 2))
    viewer.wait_for("#boxes .selected")
    viewer.wait_for("#targets .views figure.initial")
    page.screenshot(path=tmp_path / "phone.png")


def test_a_tap_right_after_a_quick_finger_counts(viewers: Any) -> None:
    """A browser may take the end of such a box for a fling, and the tap for what ends it."""
    viewer = viewers(size=PHONE, has_touch=True, is_mobile=True)
    viewer.wait_live()
    fingers, page = viewer.fingers(), viewer.page
    for _ in range(20):
        fingers("touchStart", viewer.on_screen(200, 150))
        fingers("touchMove", viewer.on_screen(260, 151))
        fingers("touchMove", viewer.on_screen(320, 152))
        fingers("touchEnd")  # too small a box to be sent
        page.locator("#help-open").tap()
        viewer.wait_for("#help", "Using this page", 5.0)
        page.locator("#help-close").click()
    assert viewer.sent == []


def test_boxes_stand_where_they_were_drawn_when_looking_closer(viewer: Viewer) -> None:
    viewer.page.mouse.move(*viewer.on_screen(320, 240))
    for _ in range(3):
        viewer.page.mouse.wheel(0, -100)
    viewer.wait_for("#whole")
    mouse = viewer.page.mouse
    mouse.move(*viewer.on_screen(300, 220))
    mouse.down()
    mouse.move(*viewer.on_screen(350, 262))
    draft = viewer.page.locator("#boxes .draft")
    drawn = [float(draft.get_attribute(name)) for name in ("x", "y", "width", "height")]
    assert drawn == pytest.approx([300, 220, 50, 42], abs=1)
    viewer.page.keyboard.press("Escape")
    mouse.up()
    viewer.page.keyboard.press("0")
    wait_until(lambda: viewer.page.locator("#whole").is_hidden(), "the whole picture")
    assert viewer.sent == []


def test_a_camera_that_stands_still_is_told(stack: Stack, viewer: Viewer, tmp_path: Path) -> None:
    assert stack.client.call(SetBool, "/video/pause", data=True).success
    viewer.wait_for("#link", "FROZEN")
    viewer.wait_for("#problems", "No new picture for")
    viewer.page.screenshot(path=tmp_path / "frozen.png")
    assert stack.client.call(SetBool, "/video/pause", data=False).success
    viewer.wait_live()
    assert viewer.page.locator("#problems").is_hidden()


def test_a_page_that_slept_shows_what_is_new(stack: Stack, viewer: Viewer) -> None:
    cdp = viewer.page.context.new_cdp_session(viewer.page)
    before = viewer.camera.frame(viewer.stamp)
    cdp.send("Page.setWebLifecycleState", {"state": "frozen"})
    slept_ns = stack.now_ns
    wait_until(lambda: stack.now_ns > slept_ns + 3e9, "3 s")
    woke_ns = stack.now_ns
    cdp.send("Page.setWebLifecycleState", {"state": "active"})
    stamps = [nanoseconds(stamp) for stamp, _ in viewer.watch(5)]
    assert stamps == sorted(stamps)
    assert stamps[-1] > woke_ns
    viewer.wait_live()
    assert viewer.camera.frame(viewer.stamp) != before


def test_a_token_is_asked_for(stack: Stack, viewers: Any, tmp_path: Path) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}/"
    with web_node(stack.folder, port, host="0.0.0.0", token="open sesame", **{"open_view": False}):
        stranger = viewers(f"{url}#token=wrong")
        stranger.wait_for("#problems", "No access")
        assert stranger.stamp == ""
        stranger.page.screenshot(path=tmp_path / "refused.png")
        stranger.page.get_by_label("Token").fill("open sesame")
        stranger.page.get_by_role("button", name="Connect").click()
        stranger.wait_live()
        assert stranger.page.locator("#access").is_hidden()

        guest = viewers(f"{url}#token=open%20sesame")
        guest.wait_live()
        assert guest.page.url == url
        guest.page.reload()  # the tab keeps it
        guest.wait_live()
        guest.follow()


def test_whoever_may_only_watch_is_told(stack: Stack, viewers: Any) -> None:
    port = free_port()
    with web_node(stack.folder, port, token="open sesame", open_view=True):
        viewer = viewers(f"http://127.0.0.1:{port}/")
        viewer.wait_live()
        viewer.wait_for("#task", "You can only watch")
        mouse = viewer.page.mouse
        mouse.move(*viewer.on_screen(100, 100))
        mouse.down()
        mouse.move(*viewer.on_screen(200, 200))
        mouse.up()
        viewer.wait_for(".toast.error", "not marked: ")
        viewer.page.get_by_label("Token").fill("open sesame")
        viewer.page.get_by_role("button", name="Connect").click()
        wait_until(lambda: viewer.page.locator("#task").is_hidden(), "the right to command")
        viewer.follow()


def test_a_picture_takes_back_nothing_that_is_newer(stack: Stack, viewer: Viewer) -> None:
    """The status of a picture's image may be older than what the page was told meanwhile."""
    black = cv2.imencode(".jpg", np.zeros((HEIGHT, WIDTH, 3), np.uint8))[1].tobytes()
    sockets = []
    viewer.page.route_web_socket("**/ws", lambda socket: sockets.append(socket))
    board = Board()

    def hear(stamp_ns: int, *targets: Any) -> None:
        board.heard(status(stamp_ns, *targets), 100.0)

    def welcome() -> Any:
        wait_until(lambda: sockets or viewer.page.evaluate("null"), "a connection")
        sockets[-1].send(protocol.welcome(""))
        return sockets.pop()

    def show(frame: int, stamp_ns: int) -> None:
        state = board.state(100.0, stamp_ns)
        socket.send(protocol.picture(frame, stamp_ns, (WIDTH, HEIGHT), state, black))
        wait_until(lambda: viewer.stamp == protocol.stamp_text(stamp_ns), "the picture")

    viewer.page.reload()
    socket = welcome()
    hear(1)
    hear(2, target("car"))
    socket.send(protocol.state(board.state(100.0)))
    viewer.page.locator("#targets [data-id='car'] button.target").click()
    show(1, 1)
    assert viewer.page.locator("#targets .selected[data-id='car']").count() == 1
    show(2, 2)
    assert viewer.boxes().keys() == {"car"}
    hear(1, target("van"))  # the camera's clock was set back: the order is that of arrival
    socket.send(protocol.state(board.state(100.0)))
    viewer.wait_for("#targets [data-id='van']")
    assert viewer.page.locator("#targets > li").count() == 1

    socket.close()
    board = Board()  # of a web node that was started again
    socket = welcome()
    hear(1, target("bus"))
    socket.send(protocol.state(board.state(100.0)))
    viewer.wait_for("#targets [data-id='bus']")


def test_the_web_node_may_be_started_again(stack: Stack, viewers: Any) -> None:
    port = free_port()
    with web_node(stack.folder, port):
        viewer = viewers(f"http://127.0.0.1:{port}/")
        viewer.wait_live()
        viewer.follow()
    viewer.wait_for("#link", "OFFLINE")
    viewer.wait_for("#problems", "No connection")
    left, top, width, height = next(iter(viewer.boxes().values()))
    viewer.page.mouse.click(*viewer.on_screen(left + width / 2, top + height / 2))
    viewer.page.keyboard.press("Delete")
    viewer.wait_for(".toast.error", "not connected: nothing was sent")
    with web_node(stack.folder, port):
        viewer.wait_live()
        assert viewer.boxes().keys() == stack.targets().keys()


def test_boxes_of_a_tracker_that_hangs_are_told_apart(stack: Stack, viewer: Viewer, tmp_path: Path) -> None:
    id = viewer.follow()
    viewer.wait_for(f"#targets .tracking[data-id='{id}']")
    os.kill(stack.process.pid, signal.SIGSTOP)
    try:
        viewer.wait_for("#problems", "The tracker has said nothing for")
        viewer.wait_for("#link", "NO TRACKER")
        viewer.wait_for("#boxes .old", "OLD")
        viewer.wait_for("#targets .old .state", "not known")
        viewer.page.screenshot(path=tmp_path / "silent.png")
    finally:
        os.kill(stack.process.pid, signal.SIGCONT)
    wait_until(lambda: viewer.page.locator("#problems").is_hidden(), "the tracker", DEADLINE_S)
    wait_until(lambda: viewer.page.locator(".old").count() == 0, "new boxes", DEADLINE_S)


def test_a_tracker_that_died_is_missed_and_found_again(stack: Stack, viewer: Viewer, tmp_path: Path) -> None:
    viewer.follow()
    stack.tracker.close()
    viewer.wait_for("#problems", "No tracker is there")
    viewer.wait_for("#link", "NO TRACKER")
    wait_until(lambda: not viewer.boxes(), "no box: nothing is known of it", DEADLINE_S)
    viewer.page.screenshot(path=tmp_path / "no_tracker.png")
    viewer.draw()
    viewer.wait_for(".toast.error", "not marked")
    stack.start_tracker()
    wait_until(lambda: viewer.page.locator("#problems").is_hidden(), "the tracker", DEADLINE_S)
    assert viewer.boxes() == {}
    viewer.follow()
    viewer.wait_for("#boxes .tracking")
