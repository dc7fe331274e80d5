"""What a frame costs around the network on one core: from the camera's message to the messages sent out.

A step each: the message is opened, the search region cut, the maps decoded, the messages made, and
serialised as publishing does it. Beside it the usual way to the pixels: an RGB picture of the whole message,
by cv_bridge where it knows the encoding, of which the region is cut and resized, with INTER_AREA where it
shrinks. Both take turns in every round.
"""

from __future__ import annotations

import argparse
import array
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm
from writing import conditions, spread

from distill_tracker_ros import command_line
from distill_tracker_ros.command_line import CommandError, Parser, write_json
from distill_tracker_ros.core import boxes, crop
from distill_tracker_ros.core.crop import Region
from distill_tracker_ros.core.decode import hann_window, peak
from distill_tracker_ros.core.engine import ModelSpec
from distill_tracker_ros.core.frame import Pixels
from distill_tracker_ros.core.session import Target
from distill_tracker_ros.core.tracker import Track, TrackState
from distill_tracker_ros.evaluation.report.tables import text_table
from distill_tracker_ros.messages import open_image
from distill_tracker_ros.runtime.load import find_model
from distill_tracker_ros.runtime.manifest import FILE_NAME, BundleError, read_manifest

_EXAMPLES = """
    python3 benchmarks/frame_path.py
    python3 benchmarks/frame_path.py --size 1920x1080 --model eatrack_tiny --json build/frame_path.json
"""
ENCODINGS = ("bgr8", "rgb8", "mono8", "bayer_rggb8", "yuv422", "yuv422_yuy2", "nv12", "jpeg")
STEPS = ("open", "crop", "decode", "messages", "serialise")


class Case(NamedTuple):
    """Where a search region lies."""

    inputs: float  # its side, in those of the network's input
    x: float  # its middle, in widths of the frame
    y: float


CASES = {
    "small": Case(0.6, 0.5, 0.5),
    "about the input": Case(1.5, 0.5, 0.5),
    "large": Case(2.7, 0.5, 0.5),
    "very large": Case(5.0, 0.5, 0.5),
    "partly outside": Case(2.7, 0.98, 0.06),
}


def main(arguments: list[str] | None = None) -> int:
    parser = Parser(description=__doc__, examples=_EXAMPLES)
    parser.add_argument("--size", type=_size, default=(1280, 720), metavar="WxH", help="(default: 1280x720)")
    parser.add_argument("--encoding", choices=ENCODINGS, action="append", help="may be repeated (all)")
    parser.add_argument("--quality", type=command_line.whole, default=90, help="of the JPEG (%(default)s)")
    parser.add_argument("--rounds", type=command_line.whole, default=100, help="%(default)s")
    parser.add_argument(
        "--model", default=command_line.DEFAULT_MODEL, help="for whose input (default: %(default)s)"
    )
    command_line.add_json_argument(parser)
    parsed = parser.parse_args(arguments)
    return command_line.run("frame_path", lambda: _benchmark(parsed), (BundleError,))


def _benchmark(arguments: argparse.Namespace) -> int:
    spec = read_manifest(find_model(arguments.model) / FILE_NAME).spec
    width, height = arguments.size
    about = conditions() | {
        "width": width,
        "height": height,
        "input_px": spec.search_size,
        "jpeg_quality": arguments.quality,
        "rounds": arguments.rounds,
    }
    encodings = arguments.encoding or ENCODINGS
    rows = measure(arguments.size, encodings, spec, arguments.quality, arguments.rounds)
    print(f"{width}x{height}, network's input {spec.search_size} px, one core; medians, ms")
    header = ("encoding, region", "px", *STEPS, "all (quartiles)", "usual way", "ms", "usual / all")
    print(text_table(header, [_cells(row) for row in rows]))
    if arguments.json:
        write_json(arguments.json, {"conditions": about, "measurements": rows})
    return 0


def measure(
    size: tuple[int, int], encodings: Sequence[str], spec: ModelSpec, quality: int, rounds: int
) -> list[dict[str, Any]]:
    """A row for each encoding and case; times in ms.

    Raises:
        CommandError: ROS 2 is not at hand.
    """
    cv2.setNumThreads(1)
    bgr, publishing = picture(size), Publishing()
    paths = {
        (encoding, name): FramePath(msg, region_of(case, size, spec), spec, publishing)
        for encoding in encodings
        for msg in [message(encoding, bgr, quality)]
        for name, case in CASES.items()
    }
    taken: dict[tuple[str, str], list[list[float]]] = {key: [] for key in paths}
    usual: dict[tuple[str, str], list[float]] = {key: [] for key in paths}
    for turn in tqdm(range(rounds), desc="frame path", unit="round", disable=None):
        for key, path in paths.items():
            if turn % 2:
                usual[key].append(path.usual_ms())
            taken[key].append(path.steps_ms())
            if turn % 2 == 0:
                usual[key].append(path.usual_ms())
    return [
        {
            "encoding": encoding,
            "case": case,
            "region_px": path.region.side,
            "steps_ms": dict(zip(STEPS, map(spread, np.transpose(steps)), strict=True)),
            "all_ms": spread(np.sum(steps, axis=1)),
            "usual_by": path.usual_by,
            "usual_ms": spread(usual[encoding, case]),
            "usual_to_all": float(np.median(usual[encoding, case] / np.sum(steps, axis=1))),
        }
        for (encoding, case), path in paths.items()
        for steps in [taken[encoding, case]]
    ]


class FramePath:
    """One message with one target, through all steps around the network."""

    def __init__(self, msg: Any, region: Region, spec: ModelSpec, publishing: Publishing) -> None:
        self.region = region
        self._msg, self._size, self._publishing = msg, spec.search_size, publishing
        self.usual_by, self._usual_picture = usual_picture(msg)
        rng = np.random.default_rng(0)
        self._scores = rng.random((spec.grid, spec.grid), np.float32)
        self._boxes = rng.uniform(0.2, 0.4, (4, spec.grid, spec.grid)).astype(np.float32)
        self._window = hann_window(spec.grid, spec.window_weight)

    def steps_ms(self) -> list[float]:
        """Of STEPS, in order."""
        began = time.perf_counter()
        frame = open_image(self._msg)
        opened = time.perf_counter()
        crop.cut(frame, self.region, self._size)
        cut = time.perf_counter()
        return [1e3 * (opened - began), 1e3 * (cut - opened), *self._after_ms(frame.width, frame.height)]

    def usual_ms(self) -> float:
        """The same, but for the way to the pixels."""
        began = time.perf_counter()
        rgb = self._usual_picture()
        usual_crop(rgb, self.region, self._size)
        cut = time.perf_counter()
        return 1e3 * (cut - began) + sum(self._after_ms(rgb.shape[1], rgb.shape[0]))

    def _after_ms(self, width: int, height: int) -> list[float]:
        began = time.perf_counter()
        found = peak(self._scores, self._boxes, self._window)
        box_xywh = boxes.clip(crop.box_to_frame(found.box_cxcywh, self.region), width, height)
        track = Track(box_xywh, found.confidence, TrackState.TRACKING, 1, 1, 1)
        decoded = time.perf_counter()
        serialised_s = self._publishing.publish(self._msg.header, track)
        all_s = time.perf_counter() - decoded
        return [1e3 * (decoded - began), 1e3 * (all_s - serialised_s), 1e3 * serialised_s]


class Publishing:
    """The node's own results, on topics that end where they are serialised."""

    def __init__(self) -> None:
        """
        Raises:
            CommandError: ROS 2 is not at hand.
        """
        try:
            from distill_tracker_ros.nodes.results import Results
            from distill_tracker_ros.nodes.tracking import Counts, Followed
        except (ImportError, SystemExit) as error:
            raise CommandError(f"the messages need ROS 2, which is not at hand: {error}") from error
        self._results, self._counts, self._followed = Results(self), Counts(), Followed
        self._serialising_s = 0.0

    def publish(self, header: Any, track: Track) -> float:
        """All messages of one frame; the seconds of it that serialising took."""
        self._serialising_s = 0.0
        targets = (self._followed(Target("1", "car"), track, 0),)
        self._results.publish_detections(header, targets)
        self._results.publish_status(
            header,
            targets,
            self._counts,
            size=(640, 480),
            model="eatrack_nano",
            backend="onnxruntime",
            processing_ms=1.0,
            latency_ms=1.0,
            message="",
        )
        return self._serialising_s

    # What `Results` asks of its node, and of a publisher.

    def create_lifecycle_publisher(self, kind: type, topic: str, qos: Any) -> Any:
        return _Wire(self)

    def serialise(self, msg: Any) -> None:
        from rclpy.serialization import serialize_message

        began = time.perf_counter()
        serialize_message(msg)
        self._serialising_s += time.perf_counter() - began


class _Wire(NamedTuple):
    end: Publishing

    def publish(self, msg: Any) -> None:
        self.end.serialise(msg)


def region_of(case: Case, size: tuple[int, int], spec: ModelSpec) -> Region:
    """The search region of a square target."""
    side = case.inputs * spec.search_size / spec.search_factor
    box = [case.x * size[0] - side / 2, case.y * size[1] - side / 2, side, side]
    return crop.region_around(box, spec.search_factor)


def usual_picture(msg: Any) -> tuple[str, Callable[[], Pixels]]:
    """Who makes an RGB picture of the whole message, and the call that does."""
    convert = _by_cv_bridge if _knows(msg) else _by_opencv
    return convert.__name__.removeprefix("_by_"), partial(convert, msg)


def _knows(msg: Any) -> bool:
    try:
        _by_cv_bridge(msg)
    except Exception:  # each release of cv_bridge knows other encodings and raises something else
        return False
    return True


def _by_cv_bridge(msg: Any) -> Pixels:
    from cv_bridge import CvBridge

    convert = CvBridge().compressed_imgmsg_to_cv2 if hasattr(msg, "format") else CvBridge().imgmsg_to_cv2
    return convert(msg, "rgb8")


def _by_opencv(msg: Any) -> Pixels:
    frame = open_image(msg)
    return frame.cut(0, 0, frame.width, frame.height)


def usual_crop(rgb: Pixels, region: Region, size: int) -> Pixels:
    """Cut, filled with zeros, and resized."""
    height, width = rgb.shape[:2]
    pad = crop.padding(region, width, height)
    left, top = region.x + pad.left, region.y + pad.top
    right, bottom = region.x + region.side - pad.right, region.y + region.side - pad.bottom
    pixels = cv2.copyMakeBorder(
        rgb[top:bottom, left:right], pad.top, pad.bottom, pad.left, pad.right, cv2.BORDER_CONSTANT
    )
    way = cv2.INTER_AREA if region.side > size else cv2.INTER_LINEAR
    return cv2.resize(pixels, (size, size), interpolation=way)


def picture(size: tuple[int, int]) -> NDArray[np.uint8]:
    """A frame of the demo's clip, BGR, in another size.

    Raises:
        CommandError: scikit-image, whose photographs the clip shows, is not installed.
    """
    try:
        from distill_tracker_ros.demo import clip
    except ImportError as error:
        raise CommandError(f"the demo's clip cannot be made: {error}") from error
    bgr = clip.shot(0).bgr
    if bgr.shape[1::-1] != size:
        bgr = cv2.resize(bgr, size, interpolation=cv2.INTER_AREA)
    return bgr


def message(encoding: str, bgr: NDArray[np.uint8], quality: int) -> Any:
    """A camera's message with this picture."""
    from sensor_msgs.msg import CompressedImage, Image

    if encoding == "jpeg":
        data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        return CompressedImage(format="bgr8; jpeg compressed bgr8", data=array.array("B", data.tobytes()))
    raw = raw_pixels(encoding, bgr)
    msg = Image(width=bgr.shape[1], height=bgr.shape[0], encoding=encoding)
    msg.step = raw.nbytes // raw.shape[0]
    msg.data = array.array("B", raw.tobytes())
    return msg


def raw_pixels(encoding: str, bgr: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Rows of bytes of an encoding; for `yuv` and `nv12` the sides must be even."""
    if encoding == "bgr8":
        return bgr
    if encoding == "rgb8":
        return np.ascontiguousarray(bgr[..., ::-1])
    if encoding == "mono8":
        return cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY)
    if encoding == "bayer_rggb8":
        mosaic = bgr[..., 1].copy()
        mosaic[::2, ::2], mosaic[1::2, 1::2] = bgr[::2, ::2, 2], bgr[1::2, 1::2, 0]
        return mosaic
    yuv = cv2.cvtColor(bgr, cv2.COLOR_BGR2YUV)
    if encoding == "nv12":
        return np.concatenate([yuv[..., 0], yuv[::2, ::2, 1:].reshape(len(yuv) // 2, -1)])
    colour = yuv[..., 1].copy()  # U and V of every other pixel
    colour[:, 1::2] = yuv[:, ::2, 2]
    order = (colour, yuv[..., 0]) if encoding == "yuv422" else (yuv[..., 0], colour)
    return np.stack(order, axis=-1)


def _size(text: str) -> tuple[int, int]:
    width, by, height = text.partition("x")
    if not by or not (width.isdecimal() and height.isdecimal()):
        raise argparse.ArgumentTypeError(f"{text!r} is not a size: give WIDTHxHEIGHT")
    if int(width) < 64 or int(height) < 64 or int(width) % 2 or int(height) % 2:
        raise argparse.ArgumentTypeError(f"{text!r}: both sides must be even and at least 64")
    return int(width), int(height)


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    steps, whole = row["steps_ms"], row["all_ms"]
    return (
        f"{row['encoding']}, {row['case']}",
        str(row["region_px"]),
        *(f"{steps[step]['median']:.3f}" for step in STEPS),
        f"{whole['median']:.3f} ({whole['q1']:.3f} to {whole['q3']:.3f})",
        row["usual_by"],
        f"{row['usual_ms']['median']:.3f}",
        f"{row['usual_to_all']:.2f}",
    )


if __name__ == "__main__":
    sys.exit(main())
