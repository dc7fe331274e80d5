#!/usr/bin/env python3
"""Makes docs/web.jpg and docs/web_phone.jpg: the operator's page in a flight of the demo's clip.

python3 scripts/page_pictures.py               # needs ROS 2, playwright and a Chromium

Real nodes and two real viewers. The one at a desk draws a box around the motorcycle, and later one around the
hut that hid it meanwhile; the one with a phone looks at the motorcycle.
"""

from __future__ import annotations

import argparse
import shutil
import socket
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from playwright.sync_api import Page, ViewportSize, sync_playwright

from distill_tracker_ros import command_line
from distill_tracker_ros.command_line import CommandError
from distill_tracker_ros.core.boxes import Boxes
from distill_tracker_ros.demo import clip, scene
from distill_tracker_ros.demo.client import CameraInfo, Client, SetBool
from distill_tracker_ros.messages import stamp_ns
from distill_tracker_ros.processes import NodeProcess, own_graph

ROOT = Path(__file__).resolve().parents[1]
RATE_HZ = 10.0  # a third of the clip's own: two processors run the tracker and the browser
DESK, PHONE = ViewportSize(width=1280, height=640), ViewportSize(width=390, height=844)
BROWSERS = "chromium", "chromium-browser", "google-chrome"
QUALITY = 75  # of the JPEGs
BIKE_AT, HUT_AT, LOOK_AT = 60, 257, 292  # frames
# Left, top, width, height in some frames, measured by hand: the clip's truth is the motorcycle's.
HUT = {255: (12, 82, 156, 120), 265: (62, 68, 134, 112), 275: (72, 57, 128, 108), 290: (82, 25, 116, 110)}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, default=ROOT / "docs", metavar="DIR", help="%(default)s")
    parser.add_argument(
        "--work", type=Path, default=ROOT / "build" / "demo", metavar="DIR", help="%(default)s"
    )
    arguments = parser.parse_args()
    return command_line.run("page_pictures", lambda: _fly(arguments.work, arguments.output))


def _fly(work: Path, output: Path) -> int:
    browser_path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser_path is None:
        raise CommandError(f"no browser was found: install one of {', '.join(BROWSERS)}")
    video, truth_path = clip.write(work)
    bike = np.loadtxt(truth_path, delimiter=",")
    sides = zip(*HUT.values(), strict=True)
    hut = np.stack([np.interp(range(clip.FRAMES), list(HUT), side) for side in sides], axis=1)
    log, port = work / "log", _free_port()
    camera = {"path": str(video), "rate": RATE_HZ, "loop": True, "start_paused": True}
    with own_graph(log), ExitStack() as running:
        started = {"tracker_node": {"autostart": True}, "web_node": {"port": port}, "video_node": camera}
        nodes = [
            running.enter_context(NodeProcess(name, log, **parameters))
            for name, parameters in started.items()
        ]
        playback = Playback(running.enter_context(Client(nodes)))
        browser = running.enter_context(sync_playwright()).chromium.launch(
            executable_path=browser_path, args=["--no-sandbox", "--disable-gpu"]
        )
        desk = browser.new_page(viewport=DESK)
        phone = browser.new_page(viewport=PHONE, device_scale_factor=2, has_touch=True, is_mobile=True)
        for page in (desk, phone):
            page.goto(f"http://127.0.0.1:{port}/")
        playback.mark(desk, "motorcycle", bike, BIKE_AT)
        playback.mark(desk, "hut", hut, HUT_AT)
        desk.locator(".target", has_text="motorcycle").click()
        phone.locator(".target", has_text="motorcycle").tap()
        playback.wait_for(desk, LOOK_AT)
        for page, name in ((desk, "web"), (phone, "web_phone")):
            path = output / f"{name}.jpg"
            page.screenshot(path=path, type="jpeg", quality=QUALITY)
            print(f"{path}: {path.stat().st_size / 1e3:.0f} kB")
    return 0


class Playback:
    """The clip, sent over and over from now on, and which of its frames a page shows."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._sent: list[CameraInfo] = client.listen(CameraInfo, "camera_info")  # of each frame, in order
        client.wait_until(lambda: self._sent, "the first frame")
        client.call(SetBool, "video/pause", SetBool.Request(data=False))

    def frame(self, page: Page) -> int:
        """The number of the frame on a page; -1 if it is not known yet."""
        stamp = (page.locator("#picture").get_attribute("data-stamp") or "-1").replace(".", "")
        stamps = list(dict.fromkeys(stamp_ns(info.header.stamp) for info in self._sent))
        return stamps.index(int(stamp)) % clip.FRAMES if int(stamp) in stamps else -1

    def wait_for(self, page: Page, frame: int) -> None:
        """Until a page shows this frame or one soon after it."""
        soon = range(frame, min(frame + 5, clip.FRAMES))
        self._client.wait_until(lambda: self.frame(page) in soon, f"frame {frame}", 3 * clip.FRAMES / RATE_HZ)

    def mark(self, page: Page, label: str, boxes_xywh: Boxes, frame: int) -> None:
        """Draw a box around what is there, as an operator does, and wait for the target."""
        page.get_by_label("Label of the next target").fill(label)
        self.wait_for(page, frame)
        left, top, _, _ = boxes_xywh[self.frame(page)]
        page.mouse.move(*_on_screen(page, left, top))
        page.mouse.down()  # from now on the picture holds still
        self._client.wait_until(lambda: self.frame(page) >= 0, "the held frame")
        left, top, width, height = boxes_xywh[self.frame(page)]
        page.mouse.move(*_on_screen(page, left + width / 2, top + height / 2))
        page.mouse.move(*_on_screen(page, left + width, top + height))
        page.mouse.up()
        page.locator(".target", has_text=label).wait_for()


def _on_screen(page: Page, x: float, y: float) -> tuple[float, float]:
    """Where a pixel of the camera is."""
    stage = page.locator("#stage").bounding_box()
    assert stage is not None
    width, height = scene.SIZE
    return stage["x"] + x * stage["width"] / width, stage["y"] + y * stage["height"] / height


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    raise SystemExit(main())
