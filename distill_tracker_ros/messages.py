"""Between ROS messages and the core: the pixels of a region of an image message, and boxes.

A camera image is large and a tracker looks at a small part of it, so a message is viewed, not copied, and
only the rectangle that is looked at is converted to RGB. Nothing here needs rclpy or a ROS graph: any object
with the fields of the message will do, for example one that was read from a bag.
"""

from __future__ import annotations

import math
import re
import struct
from typing import TYPE_CHECKING, Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from .core.boxes import cxcywh_to_xywh, xywh_to_cxcywh
from .core.crop import HALVE_FROM, halved
from .core.frame import Frame, Pixels
from .core.texts import InputError, shown
from .core.tracker import Track

if TYPE_CHECKING:
    from sensor_msgs.msg import CompressedImage, Image
    from std_msgs.msg import Header
    from vision_msgs.msg import BoundingBox2D, Detection2D


class ImageError(InputError):
    """An image message that cannot be used; the text says why and what is accepted."""


class BoxError(InputError):
    """A box message that is no upright box; the text says why."""


class _Packed(NamedTuple):
    """Pixels one after the other."""

    pixel_bytes: int
    to_rgb: int | None  # OpenCV's conversion; None = it is RGB already
    grid: int = 1  # px: pixels belong together in groups of this side
    margin: int = 0  # px around a pixel that its conversion looks at

    @property
    def mixes_no_pixels(self) -> bool:
        return self.grid == 1


# OpenCV names a Bayer pattern by its second row and column, ROS by its first.
_PACKED = {
    "rgb8": _Packed(3, None),
    "bgr8": _Packed(3, cv2.COLOR_BGR2RGB),
    "8UC3": _Packed(3, cv2.COLOR_BGR2RGB),
    "rgba8": _Packed(4, cv2.COLOR_RGBA2RGB),
    "bgra8": _Packed(4, cv2.COLOR_BGRA2RGB),
    "mono8": _Packed(1, cv2.COLOR_GRAY2RGB),
    "8UC1": _Packed(1, cv2.COLOR_GRAY2RGB),
    "bayer_rggb8": _Packed(1, cv2.COLOR_BayerBG2RGB, 2, 2),
    "bayer_bggr8": _Packed(1, cv2.COLOR_BayerRG2RGB, 2, 2),
    "bayer_gbrg8": _Packed(1, cv2.COLOR_BayerGR2RGB, 2, 2),
    "bayer_grbg8": _Packed(1, cv2.COLOR_BayerGB2RGB, 2, 2),
    "yuv422": _Packed(2, cv2.COLOR_YUV2RGB_UYVY, 2),
    "uyvy": _Packed(2, cv2.COLOR_YUV2RGB_UYVY, 2),
    "yuv422_yuy2": _Packed(2, cv2.COLOR_YUV2RGB_YUY2, 2),
    "yuyv": _Packed(2, cv2.COLOR_YUV2RGB_YUY2, 2),
}
# A plane of brightness, then one of colour at half the resolution.
_TWO_PLANES = {"nv12": cv2.COLOR_YUV2RGB_NV12, "nv21": cv2.COLOR_YUV2RGB_NV21}
ENCODINGS = (*_PACKED, *_TWO_PLANES)
# A picture of a few kB can claim any size, and to decode it takes that much memory.
LARGEST_PIXELS = 64_000_000  # of a compressed image; more than any drone's camera has
MOST_SCANS = 100  # of a JPEG, each of which goes over the whole picture; a progressive one has about ten
MOST_CHUNKS = 100_000  # of a PNG
MOST_SCANNED = 10 * LARGEST_PIXELS  # pixels times scans
_BAND = 32  # rows of a halved region that are made at once
_DEEP = re.compile(r"16|32|64|8S")  # mono16, bgra16, bayer_rggb16, 16UC1, 32FC1, 8SC3, ...


def open_image(msg: Image | CompressedImage) -> Frame:
    """The frame in an image message of either kind.

    Raises:
        ImageError: the message cannot be used.
    """
    return CompressedFrame(msg) if hasattr(msg, "format") else MessageFrame(msg)


class MessageFrame:
    """A `core.frame.Frame` over the bytes of a sensor_msgs/Image, which are viewed and not copied."""

    def __init__(self, msg: Image) -> None:
        """
        Raises:
            ImageError: size, step, data and encoding do not describe an 8-bit picture.
        """
        self.width, self.height = int(msg.width), int(msg.height)
        if not self.width or not self.height:
            raise ImageError(f"the image of {self.width}x{self.height} has no pixels")
        if msg.encoding in _PACKED:
            self._layout = _PACKED[msg.encoding]
            self._planes = self._view_packed(msg)
        elif msg.encoding in _TWO_PLANES:
            self._layout = _Packed(1, _TWO_PLANES[msg.encoding], grid=2)
            self._planes = self._view_two_planes(msg)
        else:
            self._layout = _PACKED["rgb8"]
            self._planes = (self._convert_whole(msg),)

    def cut(self, x: int, y: int, width: int, height: int, shrink: float = 1.0) -> Pixels:
        """The rectangle: what the conversion of the whole picture would hold there.

        Halved where `crop.cut` would halve it anyway, so that no array is made of the size of the frame.
        """
        if shrink < HALVE_FROM:
            return self._convert(x, y, width, height)
        if self._layout.mixes_no_pixels:  # halved first or converted first, it is the same
            return self._to_rgb(halved(self._planes[0][y : y + height, x : x + width]))
        rows, columns = -(-height // 2), -(-width // 2)
        bands = []
        for first in range(0, rows, _BAND):
            last = min(first + _BAND, rows)
            top, bottom = round(first * height / rows), round(last * height / rows)
            band = self._convert(x, y + top, width, bottom - top)
            bands.append(cv2.resize(band, (columns, last - first)))
        return np.concatenate(bands)

    def _convert(self, x: int, y: int, width: int, height: int) -> Pixels:
        """The rectangle at full scale."""
        grid, margin = self._layout.grid, self._layout.margin
        # Whole groups of pixels, and the neighbours that the conversion looks at.
        left = max(0, (x - margin) // grid * grid)
        top = max(0, (y - margin) // grid * grid)
        right = min(self.width, -(-(x + width + margin) // grid) * grid)
        bottom = min(self.height, -(-(y + height + margin) // grid) * grid)
        planes = [self._planes[0][top:bottom, left:right]]
        planes += [p[top // 2 : bottom // 2, left // 2 : right // 2] for p in self._planes[1:]]
        return self._to_rgb(*planes)[y - top : y - top + height, x - left : x - left + width]

    def _to_rgb(self, *planes: Pixels) -> Pixels:
        if self._layout.to_rgb is None:
            return planes[0]
        if len(planes) == 1:
            return cv2.cvtColor(planes[0], self._layout.to_rgb)  # type: ignore[return-value]
        return cv2.cvtColorTwoPlane(planes[0], planes[1], self._layout.to_rgb)  # type: ignore[return-value]

    def _view_packed(self, msg: Image) -> tuple[Pixels, ...]:
        channels = self._layout.pixel_bytes
        if channels == 2 and self.width % 2:
            raise ImageError(
                f"an image of encoding {shown(msg.encoding)} needs an even width; got {self.width}"
            )
        self._check_bytes(msg, channels, self.height)
        shape = (self.height, self.width) if channels == 1 else (self.height, self.width, channels)
        strides = (msg.step, channels, 1)[: len(shape)]
        return (np.ndarray(shape, np.uint8, msg.data, 0, strides),)

    def _view_two_planes(self, msg: Image) -> tuple[Pixels, ...]:
        if self.width % 2 or self.height % 2:
            sides = f"an even width and height; got {self.width}x{self.height}"
            raise ImageError(f"an image of encoding {shown(msg.encoding)} needs {sides}")
        self._check_bytes(msg, 1, self.height + self.height // 2)
        brightness: Pixels = np.ndarray((self.height, self.width), np.uint8, msg.data, 0, (msg.step, 1))
        half = (self.height // 2, self.width // 2, 2)
        return brightness, np.ndarray(half, np.uint8, msg.data, msg.step * self.height, (msg.step, 2, 1))

    def _check_bytes(self, msg: Image, pixel_bytes: int, rows: int) -> None:
        about = f"the {self.width}x{self.height} image of encoding {msg.encoding!r}"
        row_bytes = self.width * pixel_bytes
        if msg.step < row_bytes:
            raise ImageError(f"{about} has a step of {msg.step}: a row needs at least {row_bytes} bytes")
        needed = msg.step * (rows - 1) + row_bytes  # the last row may come without its padding
        if len(msg.data) < needed:
            text = f"{about} with a step of {msg.step} has {len(msg.data)} bytes of data: it needs {needed}"
            raise ImageError(text)

    def _convert_whole(self, msg: Image) -> Pixels:
        """An encoding that is not viewed here: cv_bridge converts it, if it is installed and knows it."""
        accepted, encoding = f"accepted are {', '.join(ENCODINGS)}", shown(msg.encoding)
        if not msg.encoding or _DEEP.search(msg.encoding):
            what = "pixels of 16 bits and more, signed and float ones cannot be tracked on"
            reason = what if msg.encoding else "it is empty"
            raise ImageError(f"encoding {encoding}: {reason}; {accepted}")
        try:
            from cv_bridge import CvBridge

            rgb = CvBridge().imgmsg_to_cv2(msg, "rgb8")
        except Exception as error:  # each release of cv_bridge raises something else
            reason = f"cv_bridge does not convert it either ({type(error).__name__}: {shown(str(error))})"
            raise ImageError(f"encoding {encoding} is unknown, and {reason}; {accepted}") from error
        if rgb.shape != (self.height, self.width, 3) or rgb.dtype != np.uint8:
            got = f"{rgb.shape} of {rgb.dtype}"
            raise ImageError(f"encoding {encoding}: cv_bridge made {got} of it, not RGB; {accepted}")
        return rgb  # type: ignore[no-any-return]


class CompressedFrame:
    """A `core.frame.Frame` over a sensor_msgs/CompressedImage with a JPEG or PNG picture.

    What it is says its content, not the text in `format`, which differs between senders. It is decoded when
    it is first looked at, once per scale: a JPEG coarser (1/2, 1/4, 1/8) where that still feeds the crop.
    The orientation tag of EXIF is ignored: pixels are the camera's.
    """

    _REDUCED = {2: cv2.IMREAD_REDUCED_COLOR_2, 4: cv2.IMREAD_REDUCED_COLOR_4, 8: cv2.IMREAD_REDUCED_COLOR_8}

    def __init__(self, msg: CompressedImage) -> None:
        """
        Raises:
            ImageError: the data are neither JPEG nor PNG, are truncated, hold no 8-bit picture, or one of
                more than LARGEST_PIXELS, MOST_SCANS or MOST_SCANNED.
        """
        self._data: NDArray[np.uint8] = np.frombuffer(msg.data, np.uint8)
        self._is_jpeg = self._data[:2].tobytes() == b"\xff\xd8"
        if self._is_jpeg:
            self.width, self.height = _jpeg_size(self._data)
        elif self._data[:8].tobytes() == b"\x89PNG\r\n\x1a\n":
            self.width, self.height = _png_size(self._data)
        else:
            begins = self._data[:4].tobytes().hex(" ") or "nothing"
            what = f"the compressed image of format {shown(msg.format)} begins with {begins}"
            raise ImageError(f"{what}: accepted are JPEG and PNG")
        if not self.width or not self.height:
            raise ImageError(f"the compressed image of {self.width}x{self.height} has no pixels")
        if self.width * self.height > LARGEST_PIXELS:
            what = f"the compressed image claims {self.width}x{self.height} pixels"
            raise ImageError(f"{what}: accepted are up to {LARGEST_PIXELS // 1_000_000} million")
        if self._is_jpeg:
            self._check_scans()
        self._decoded: dict[int, Pixels] = {}  # scale -> BGR

    def cut(self, x: int, y: int, width: int, height: int, shrink: float = 1.0) -> Pixels:
        """The rectangle, of a JPEG at the coarsest scale that is not coarser than `shrink`.

        Raises:
            ImageError: the data are corrupt.
        """
        scale = max(s for s in (1, *self._REDUCED) if s == 1 or (self._is_jpeg and s <= shrink))
        bgr = self._decode(scale)
        if scale == 1:
            part = bgr[y : y + height, x : x + width]
        else:
            part = _cut_between_pixels(bgr, np.array([x, y, width, height]) / scale)
        return cv2.cvtColor(part, cv2.COLOR_BGR2RGB)  # type: ignore[return-value]

    def _check_scans(self) -> None:
        found, most = self._data.tobytes().count(b"\xff\xda"), MOST_SCANNED // (self.width * self.height)
        if found > min(most, MOST_SCANS):
            what = f"the compressed image (JPEG, {self.width}x{self.height} pixels) has {found} scans"
            raise ImageError(f"{what}: accepted are up to {min(most, MOST_SCANS)}")

    def _decode(self, scale: int) -> Pixels:
        if scale not in self._decoded:
            flags = self._REDUCED.get(scale, cv2.IMREAD_COLOR) | cv2.IMREAD_IGNORE_ORIENTATION
            try:
                bgr = cv2.imdecode(self._data, flags)
            except cv2.error as error:
                raise ImageError(f"the compressed image cannot be decoded: {error.err}") from error
            size = (math.ceil(self.height / scale), math.ceil(self.width / scale))
            if bgr is None or bgr.shape[:2] != size:
                kind = "JPEG" if self._is_jpeg else "PNG"
                what = f"the compressed image ({kind}, {len(self._data)} bytes)"
                raise ImageError(f"{what} is corrupt: it does not decode")
            self._decoded[scale] = bgr  # type: ignore[assignment]
        return self._decoded[scale]


def _cut_between_pixels(image: Pixels, box_xywh: ArrayLike) -> Pixels:
    """A box that may begin and end within a pixel, in about as many pixels as it covers (bilinear)."""
    x, y, w, h = np.asarray(box_xywh, np.float64)
    columns, rows = math.ceil(w), math.ceil(h)
    sx, sy = w / columns, h / rows
    to_source = np.array([[sx, 0, x + sx / 2 - 0.5], [0, sy, y + sy / 2 - 0.5]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(  # type: ignore[return-value]
        image, to_source, (columns, rows), flags=flags, borderMode=cv2.BORDER_REPLICATE
    )


def _jpeg_size(data: NDArray[np.uint8]) -> tuple[int, int]:
    """Width and height from the frame header, without decoding; also checks that the end is there."""
    # The end marker cannot be part of the picture's data. Some cameras fill up after it.
    if b"\xff\xd9" not in data[-4096:].tobytes():
        raise ImageError(f"the compressed image (JPEG, {len(data)} bytes) is truncated: it has no end marker")
    at = 2
    while at + 9 <= len(data) and data[at] == 0xFF:
        marker, length = int(data[at + 1]), int(data[at + 2]) << 8 | int(data[at + 3])
        if marker == 0xFF:  # filling
            at += 1
        elif marker <= 0x01 or 0xD0 <= marker <= 0xD9:
            break  # without a length: the decoder would find another frame header than we do
        elif 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):  # the frame headers
            height, width = struct.unpack(">HH", data[at + 5 : at + 9].tobytes())
            return width, height
        else:
            at += 2 + length
    raise ImageError(f"the compressed image (JPEG, {len(data)} bytes) is corrupt: it has no frame header")


def _png_size(data: NDArray[np.uint8]) -> tuple[int, int]:
    """Width and height from the header, without decoding; also checks that every chunk is there.

    OpenCV allocates what a chunk claims to have, which can be gigabytes.
    """
    what, at, kind = f"the compressed image (PNG, {len(data)} bytes)", 8, b""
    for _ in range(MOST_CHUNKS):
        if at + 12 > len(data) or kind == b"IEND":
            break
        length, kind = struct.unpack_from(">I4s", data, at)
        if at == 8 and (length, kind) != (13, b"IHDR"):
            raise ImageError(f"{what} is corrupt: it does not begin with its header")
        at += 12 + length
    if kind != b"IEND" or at > len(data):
        raise ImageError(f"{what} is truncated or corrupt: its chunks do not lead to its end")
    width, height, depth = struct.unpack(">IIB", data[16:25].tobytes())
    if depth > 8:
        raise ImageError(f"the compressed image is a PNG of {depth} bits: accepted are 8 bits")
    return width, height


def stamp_ns(stamp: Any) -> int:
    """builtin_interfaces/Time in nanoseconds; 0 = no stamp."""
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)


def box_from_msg(box: BoundingBox2D) -> NDArray[np.float64]:
    """Centre, size and angle -> xywh in frame pixels.

    Raises:
        BoxError: a number is not finite, or the box is rotated.
    """
    x, y, theta = box.center.position.x, box.center.position.y, box.center.theta
    if not all(map(math.isfinite, (x, y, theta, box.size_x, box.size_y))):
        text = f"box centre x={x:g} y={y:g} theta={theta:g}, size {box.size_x:g} x {box.size_y:g}"
        raise BoxError(f"{text}: every number must be finite")
    if abs(theta) > 1e-6:
        raise BoxError(f"the box is rotated (theta = {theta:g} rad): accepted is an upright one, theta = 0")
    return cxcywh_to_xywh([x, y, box.size_x, box.size_y])


def fill_box(msg: BoundingBox2D, box_xywh: ArrayLike) -> None:
    """Write a box, xywh in frame pixels, into a message."""
    cx, cy, w, h = xywh_to_cxcywh(box_xywh).tolist()
    msg.center.position.x, msg.center.position.y = cx, cy
    msg.size_x, msg.size_y = w, h


def track_to_detection(id: str, label: str, track: Track, header: Header) -> Detection2D:
    """One target as a detection: `score` is its confidence, the header that of the image.

    `class_id`, which displays write beside the box, is its label, or its id if it has none.
    """
    # Imported here, so that the pixels of a bag can be read where there is no ROS.
    from vision_msgs.msg import Detection2D, ObjectHypothesisWithPose

    hypothesis = ObjectHypothesisWithPose()
    hypothesis.hypothesis.class_id = label or id
    hypothesis.hypothesis.score = track.confidence
    detection = Detection2D(header=header, results=[hypothesis], id=id)
    fill_box(detection.bbox, track.box_xywh)
    return detection
