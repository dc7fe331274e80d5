"""The pixels of a region equal those of the whole picture, for every encoding; broken messages are named."""

from __future__ import annotations

import array
import struct
import sys
import types
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from distill_tracker_ros.core.boxes import iou
from distill_tracker_ros.core.crop import HALVE_FROM, Region, region_around
from distill_tracker_ros.core.crop import cut as cut_region
from distill_tracker_ros.core.frame import ArrayFrame
from distill_tracker_ros.core.tracker import Track, TrackState
from distill_tracker_ros.messages import (
    ENCODINGS,
    BoxError,
    CompressedFrame,
    ImageError,
    MessageFrame,
    box_from_msg,
    open_image,
    stamp_ns,
    track_to_detection,
)

Bytes = NDArray[np.uint8]
BAYER = {  # OpenCV's names by the first row, which a test should not share with the code
    "bayer_rggb8": (0, 1, 1, 2),
    "bayer_bggr8": (2, 1, 1, 0),
    "bayer_gbrg8": (1, 2, 0, 1),
    "bayer_grbg8": (1, 0, 2, 1),
}
YUV_CODES = {
    "yuv422": cv2.COLOR_YUV2RGB_UYVY,
    "uyvy": cv2.COLOR_YUV2RGB_UYVY,
    "yuv422_yuy2": cv2.COLOR_YUV2RGB_YUY2,
    "yuyv": cv2.COLOR_YUV2RGB_YUY2,
    "nv12": cv2.COLOR_YUV2RGB_NV12,
    "nv21": cv2.COLOR_YUV2RGB_NV21,
}
BAYER_CODES = {
    "bayer_rggb8": cv2.COLOR_BayerBG2RGB,
    "bayer_bggr8": cv2.COLOR_BayerRG2RGB,
    "bayer_gbrg8": cv2.COLOR_BayerGR2RGB,
    "bayer_grbg8": cv2.COLOR_BayerGB2RGB,
}
CHANNELS = {"rgb8": 3, "bgr8": 3, "8UC3": 3, "rgba8": 4, "bgra8": 4}


def image(data: Bytes, width: int, height: int, encoding: str, padding: int = 0) -> SimpleNamespace:
    """A message of rows of bytes, each followed by `padding` bytes of rubbish."""
    rubbish = np.full((len(data), padding), 171, np.uint8)
    rows = np.concatenate([data.reshape(len(data), -1), rubbish], axis=1)
    return SimpleNamespace(
        width=width,
        height=height,
        encoding=encoding,
        step=rows.shape[1],
        data=array.array("B", rows.tobytes()),
    )


def sample(encoding: str, width: int, height: int, rng: np.random.Generator) -> tuple[Bytes, Bytes]:
    """Random bytes of an encoding, and the RGB picture that they are, converted as a whole."""
    if encoding in CHANNELS:
        raw = rng.integers(0, 256, (height, width, CHANNELS[encoding]), np.uint8)
        return raw, raw[..., :3] if encoding.startswith("rgb") else raw[..., 2::-1]
    if encoding in ("mono8", "8UC1"):
        raw = rng.integers(0, 256, (height, width), np.uint8)
        return raw, np.repeat(raw[..., None], 3, axis=2)
    if encoding in BAYER:
        raw = rng.integers(0, 256, (height, width), np.uint8)
        return raw, cv2.cvtColor(raw, BAYER_CODES[encoding])
    if encoding.startswith("nv"):
        raw = rng.integers(0, 256, (height * 3 // 2, width), np.uint8)
        return raw, cv2.cvtColor(raw, YUV_CODES[encoding])
    raw = rng.integers(0, 256, (height, width, 2), np.uint8)
    return raw, cv2.cvtColor(raw, YUV_CODES[encoding])


def rectangles(width: int, height: int, rng: np.random.Generator) -> list[tuple[int, int, int, int]]:
    """Random ones, single pixels, and those at each border."""
    found = [(0, 0, width, height), (0, 0, 1, 1), (width - 1, height - 1, 1, 1), (width - 3, 0, 3, height)]
    for _ in range(40):
        x, y = int(rng.integers(0, width)), int(rng.integers(0, height))
        found.append((x, y, int(rng.integers(1, width - x + 1)), int(rng.integers(1, height - y + 1))))
    return found


@pytest.mark.parametrize("padding", [0, 13])
@pytest.mark.parametrize(
    ("encoding", "width", "height"),
    [
        (encoding, width, height)
        for encoding in ENCODINGS
        for width, height in ((64, 48), (38, 26), (37, 25))
        if encoding not in YUV_CODES or width % 2 == 0  # these have pairs of pixels
    ],
)
def test_a_region_equals_that_part_of_the_whole_conversion(
    encoding: str, width: int, height: int, padding: int
) -> None:
    rng = np.random.default_rng(7)
    raw, whole = sample(encoding, width, height, rng)
    frame = MessageFrame(image(raw, width, height, encoding, padding))
    assert (frame.width, frame.height) == (width, height)
    for x, y, w, h in rectangles(width, height, rng):
        part = frame.cut(x, y, w, h)
        assert part.dtype == np.uint8
        np.testing.assert_array_equal(part, whole[y : y + h, x : x + w], err_msg=f"{x, y, w, h}")


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_region_that_will_be_shrunk_much_is_halved(encoding: str) -> None:
    """As the conversion of the whole picture would be, in every band of rows."""
    rng = np.random.default_rng(8)
    raw, whole = sample(encoding, 400, 300, rng)
    frame = MessageFrame(image(raw, 400, 300, encoding, padding=6))
    for x, y, w, h in ((0, 0, 400, 300), (3, 5, 200, 130), (7, 1, 390, 298)):
        want = cv2.resize(np.ascontiguousarray(whole[y : y + h, x : x + w]), (w // 2, h // 2))
        np.testing.assert_array_equal(frame.cut(x, y, w, h, HALVE_FROM), want)
        assert frame.cut(x, y, w, h, HALVE_FROM - 0.01).shape == (h, w, 3)


@pytest.mark.parametrize("encoding", ["bgr8", "bayer_rggb8", "nv12"])
def test_a_halved_region_of_odd_sides_stays_in_place(encoding: str) -> None:
    """Brightness grows by rows: what is halved tells where its rows were."""
    ramp = np.repeat(np.arange(240, dtype=np.uint8)[:, None], 320, axis=1)
    raw = {
        "bgr8": np.repeat(ramp[..., None], 3, axis=2),
        "bayer_rggb8": ramp,
        "nv12": np.concatenate([ramp, np.full((120, 320), 128, np.uint8)]),
    }[encoding]
    frame = MessageFrame(image(raw, 320, 240, encoding))
    top, height = 20, 201
    found = frame.cut(9, top, 301, height, HALVE_FROM)
    assert found.shape == (101, 151, 3)
    middles = top + (np.arange(101) + 0.5) * height / 101 - 0.5
    brightness = frame.cut(9, 0, 1, 240)[:, 0, 0].astype(float)
    want = np.interp(middles, np.arange(240), brightness)
    np.testing.assert_allclose(found[2:-2, 75, 0], want[2:-2], atol=0.5 * 1.17 + 0.6)


@pytest.mark.parametrize("encoding", BAYER)
def test_bayer_names_mean_the_first_row_of_the_sensor(encoding: str) -> None:
    """A scene of one colour, seen through the filter, comes back in that colour."""
    colour = np.array([200, 120, 40], np.uint8)
    pattern = np.array(BAYER[encoding]).reshape(2, 2)
    raw = colour[np.tile(pattern, (10, 12))]
    frame = MessageFrame(image(raw, 24, 20, encoding))
    np.testing.assert_array_equal(frame.cut(5, 3, 11, 9), np.broadcast_to(colour, (9, 11, 3)))


@pytest.mark.parametrize("encoding", ["yuv422", "yuv422_yuy2", "nv12", "nv21"])
def test_yuv_orders_mean_what_they_say(encoding: str) -> None:
    """A red picture, written down by hand (BT.601: Y 81, U 90, V 240), is red."""
    y, u, v = 81, 90, 240
    if encoding.startswith("nv"):
        pair = (u, v) if encoding == "nv12" else (v, u)
        raw = np.concatenate([np.full((6, 8), y), np.tile(pair, (3, 4))]).astype(np.uint8)
    else:
        four = (u, y, v, y) if encoding == "yuv422" else (y, u, y, v)
        raw = np.tile(np.array(four, np.uint8), (6, 4))
    red, green, blue = MessageFrame(image(raw, 8, 6, encoding)).cut(3, 1, 1, 1)[0, 0].tolist()
    assert red > 245 and green < 10 and blue < 10


@pytest.mark.parametrize("encoding", ["bgr8", "rgb8", "mono8"])
def test_the_crop_of_a_message_equals_that_of_an_array(encoding: str) -> None:
    """X-9, as there is no second crop: byte for byte, for 1,000 boxes, many of them half outside."""
    rng = np.random.default_rng(0)
    rgb = rng.integers(0, 256, (180, 320, 3), np.uint8)
    if encoding == "mono8":
        rgb[:] = rgb[..., :1]
    data = {"bgr8": rgb[..., ::-1], "rgb8": rgb, "mono8": rgb[..., 0]}[encoding]
    message, array_frame = open_image(image(np.ascontiguousarray(data), 320, 180, encoding)), ArrayFrame(rgb)
    for _ in range(1000):
        centre, sides = rng.uniform((-20, -20), (340, 200)), rng.uniform(4, 120, 2)
        region = region_around([*(centre - sides / 2), *sides], rng.choice([2.0, 4.0]))
        size = int(rng.choice([64, 128]))
        assert np.array_equal(cut_region(message, region, size), cut_region(array_frame, region, size))


def test_the_message_is_viewed_and_not_copied() -> None:
    msg = image(np.zeros((4, 6, 3), np.uint8), 6, 4, "rgb8")
    frame = MessageFrame(msg)
    msg.data[(1 * 6 + 2) * 3] = 99
    assert frame.cut(2, 1, 1, 1).tolist() == [[[99, 0, 0]]]


def test_the_last_row_may_come_without_its_padding() -> None:
    msg = image(np.full((4, 6), 5, np.uint8), 6, 4, "mono8", padding=10)
    msg.data = msg.data[:-10]
    assert MessageFrame(msg).cut(0, 3, 6, 1).tolist() == [[[5, 5, 5]] * 6]


@pytest.mark.parametrize("data_type", [bytes, np.array, memoryview])
def test_data_may_be_whatever_a_bag_reader_gives(data_type: type) -> None:
    msg = image(np.arange(24, dtype=np.uint8).reshape(4, 6), 6, 4, "mono8")
    msg.data = data_type(msg.data) if data_type is not np.array else np.frombuffer(msg.data, np.uint8)
    assert MessageFrame(msg).cut(1, 1, 1, 1).tolist() == [[[7, 7, 7]]]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"width": 0}, ["0x4", "no pixels"]),
        ({"height": 0}, ["6x0", "no pixels"]),
        ({"step": 17}, ["step of 17", "at least 18"]),
        ({"step": 0}, ["step of 0", "at least 18"]),
        ({"step": 40}, ["step of 40", "72 bytes", "needs 138"]),
        ({"data": array.array("B", bytes(71))}, ["71 bytes", "needs 72"]),
        ({"data": array.array("B")}, ["0 bytes"]),
        ({"height": 4_000_000_000}, ["6x4000000000", "needs"]),
        ({"encoding": ""}, ["''", "empty", "bgr8"]),
        ({"encoding": "16UC1"}, ["'16UC1'", "16 bits", "bgr8", "nv12"]),
        ({"encoding": "bayer_rggb16"}, ["'bayer_rggb16'", "16 bits"]),
        ({"encoding": "32FC1"}, ["'32FC1'", "float"]),
        ({"encoding": "8SC3"}, ["'8SC3'", "signed"]),
        ({"encoding": "mono16"}, ["'mono16'"]),
        ({"encoding": "purple"}, ["'purple'", "unknown", "bgr8"]),
        ({"encoding": "yuv422", "width": 5}, ["'yuv422'", "even width", "5"]),
        ({"encoding": "nv12", "height": 3}, ["'nv12'", "even", "6x3"]),
        ({"encoding": "nv12", "step": 12, "data": array.array("B", bytes(71))}, ["71 bytes", "needs 66"]),
    ],
    ids=lambda v: ",".join(map(str, v))[:40] if isinstance(v, dict) else "",
)
def test_a_broken_image_is_named(change: dict[str, object], words: list[str]) -> None:
    msg = image(np.zeros((4, 6, 3), np.uint8), 6, 4, "bgr8")
    vars(msg).update(change)
    if change.get("encoding") == "nv12" and "data" in change:
        MessageFrame(msg)  # 5 full rows of 12 and one of 6 are 66: long enough
        msg.data = msg.data[:65]
        words = ["65 bytes", "needs 66"]
    with pytest.raises(ImageError) as caught:
        MessageFrame(msg)
    assert all(word in str(caught.value) for word in words), str(caught.value)
    assert "\n" not in str(caught.value)


class TestCvBridge:
    """The fallback, with a stand-in: what is installed differs between machines."""

    def install(self, monkeypatch: pytest.MonkeyPatch, convert: object) -> None:
        module = types.ModuleType("cv_bridge")
        module.CvBridge = lambda: SimpleNamespace(imgmsg_to_cv2=convert)  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "cv_bridge", module)

    def test_converts_what_is_not_viewed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        whole = np.random.default_rng(0).integers(0, 256, (4, 6, 3), np.uint8)
        asked = []
        self.install(monkeypatch, lambda msg, wanted: asked.append((msg.encoding, wanted)) or whole)
        frame = MessageFrame(image(np.zeros((4, 24), np.uint8), 6, 4, "8UC4"))
        np.testing.assert_array_equal(frame.cut(1, 2, 3, 2), whole[2:4, 1:4])
        assert asked == [("8UC4", "rgb8")]

    def test_is_not_believed_blindly(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.install(monkeypatch, lambda msg, wanted: np.zeros((4, 6), np.uint8))
        with pytest.raises(ImageError, match=r"cv_bridge made \(4, 6\)"):
            MessageFrame(image(np.zeros((4, 24), np.uint8), 6, 4, "8UC4"))

    def test_missing_is_said(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "cv_bridge", None)
        with pytest.raises(
            ImageError, match="'nv24' is unknown, and cv_bridge .*ModuleNotFoundError.*accepted are rgb8"
        ):
            MessageFrame(image(np.zeros((4, 24), np.uint8), 6, 4, "nv24"))


def photo(width: int, height: int) -> Bytes:
    """Smooth shapes, as in a photograph, so that JPEG changes little; RGB."""
    noise = np.random.default_rng(3).integers(0, 256, (height // 40, width // 40, 3), np.uint8)
    return cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)


def compressed(rgb: Bytes, kind: str = ".jpg", quality: int = 98) -> SimpleNamespace:
    options = [cv2.IMWRITE_JPEG_QUALITY, quality] if kind == ".jpg" else []
    data = cv2.imencode(kind, rgb[..., ::-1], options)[1].tobytes()
    return SimpleNamespace(format="bgr8; jpeg compressed bgr8", data=array.array("B", data))


class TestCompressed:
    @pytest.mark.parametrize("size", [(320, 240), (321, 243)])
    def test_png_is_exact_whatever_its_format_field_says(self, size: tuple[int, int]) -> None:
        rgb = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
        frame = open_image(compressed(rgb, ".png"))
        assert (frame.width, frame.height) == size
        np.testing.assert_array_equal(frame.cut(17, 5, 100, 60, shrink=4), rgb[5:65, 17:117])

    def test_jpeg_at_full_scale_is_the_whole_decode(self) -> None:
        msg = compressed(photo(320, 240))
        whole = cv2.imdecode(np.frombuffer(msg.data, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
        frame = CompressedFrame(msg)
        np.testing.assert_array_equal(frame.cut(31, 7, 55, 44, shrink=1.99), whole[7:51, 31:86])

    @pytest.mark.parametrize("shrink", [2.0, 3.9, 4.0, 8.0, 50.0])
    def test_a_coarser_jpeg_keeps_place_and_contract(self, shrink: float) -> None:
        """What is cut lies where it lies at full scale, to a twentieth of a returned pixel."""
        rgb = photo(1283, 721)
        frame = CompressedFrame(compressed(rgb))
        rng = np.random.default_rng(1)
        for _ in range(12):
            x, y = int(rng.integers(0, 300)), int(rng.integers(0, 200))
            w, h = int(rng.integers(300, 1283 - x)), int(rng.integers(300, 721 - y))
            part = frame.cut(x, y, w, h, shrink)
            assert w / shrink <= part.shape[1] <= w and h / shrink <= part.shape[0] <= h
            full = cv2.resize(rgb[y : y + h, x : x + w], part.shape[1::-1], interpolation=cv2.INTER_AREA)
            got, want = (image[2:-2, 2:-2, 1].astype(np.float64) for image in (part, full))
            slope = np.gradient(want)
            shift = [(g * (got - want)).sum() / (g * g).sum() for g in slope]  # least squares
            assert np.abs(shift).max() < 0.05, (x, y, w, h)

    def test_is_decoded_once_per_scale(self, monkeypatch: pytest.MonkeyPatch) -> None:
        frame = CompressedFrame(compressed(photo(320, 240)))
        decode, calls = cv2.imdecode, []
        monkeypatch.setattr(cv2, "imdecode", lambda data, flags: calls.append(flags) or decode(data, flags))
        for shrink in (1.0, 2.5, 1.2, 2.0, 9.0, 30.0):
            frame.cut(0, 0, 64, 64, shrink)
        assert len(calls) == 3

    def test_feeds_the_crop_like_an_array(self) -> None:
        """Through `crop.cut`, region partly outside, coarse decoding included."""
        rgb = photo(640, 480)
        frame = CompressedFrame(compressed(rgb))
        for region in (Region(100, 80, 300), Region(-200, -100, 600), Region(11, -333, 1000)):
            want = cut_region(ArrayFrame(rgb), region, 128).astype(float)
            got = cut_region(frame, region, 128).astype(float)
            # One pixel at the border between padding and picture may differ when decoded coarser.
            assert np.median(np.abs(got - want)) <= 2.0 and np.abs(got - want).mean() < 4.0

    def test_the_orientation_tag_is_ignored(self) -> None:
        """Pixels are the camera's: a picture marked as rotated keeps its size and its pixels."""
        msg = compressed(photo(320, 160))
        exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"
        plain = msg.data.tobytes()
        tagged = plain[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + plain[2:]
        rotated = cv2.imdecode(np.frombuffer(tagged, np.uint8), cv2.IMREAD_COLOR)
        assert rotated.shape == (320, 160, 3), "the tag is not one that OpenCV sees"
        frame = CompressedFrame(SimpleNamespace(format="jpeg", data=array.array("B", tagged)))
        assert (frame.width, frame.height) == (320, 160)
        np.testing.assert_array_equal(frame.cut(9, 9, 50, 50), CompressedFrame(msg).cut(9, 9, 50, 50))

    def test_grey_and_progressive_jpegs(self) -> None:
        grey = photo(64, 48)[..., 0]
        data = cv2.imencode(".jpg", grey, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1, cv2.IMWRITE_JPEG_QUALITY, 98])[1]
        frame = CompressedFrame(SimpleNamespace(format="jpeg", data=array.array("B", data.tobytes())))
        assert (frame.width, frame.height) == (64, 48)
        assert np.abs(frame.cut(0, 0, 64, 48)[..., 1].astype(int) - grey).mean() < 2

    @pytest.mark.parametrize(
        ("data", "words"),
        [
            (b"", ["nothing", "JPEG and PNG"]),
            (b"GIF89a....", ["47 49 46 38", "JPEG and PNG"]),
            (b"\xff\xd8\xff\xd9", ["no frame header"]),
            (b"\xff\xd8", ["truncated"]),
            (b"\x89PNG\r\n\x1a\n123", ["PNG", "truncated"]),
        ],
    )
    def test_broken_data_are_named(self, data: bytes, words: list[str]) -> None:
        with pytest.raises(ImageError) as caught:
            open_image(SimpleNamespace(format="jpeg", data=array.array("B", data)))
        assert all(word in str(caught.value) for word in words), str(caught.value)

    def test_truncated_and_scrambled_pictures_are_named(self) -> None:
        msg = compressed(photo(320, 240))
        with pytest.raises(ImageError, match="truncated"):
            CompressedFrame(SimpleNamespace(format="jpeg", data=msg.data[: len(msg.data) // 2]))
        png = compressed(photo(64, 48), ".png")
        png.data[60:90] = array.array("B", bytes(30))
        with pytest.raises(ImageError, match="corrupt|decoded"):
            CompressedFrame(png).cut(0, 0, 64, 48)
        no_table = msg.data.tobytes().replace(b"\xff\xdb", b"\xff\xfe")
        with pytest.raises(ImageError, match="corrupt"):
            CompressedFrame(SimpleNamespace(format="jpeg", data=array.array("B", no_table))).cut(0, 0, 8, 8)

    def test_a_picture_that_claims_too_many_pixels_is_refused_before_it_is_decoded(self) -> None:
        """A few kB can claim 30000 x 30000 pixels, which take gigabytes."""
        png = compressed(photo(64, 48), ".png").data.tobytes()
        png = png[:16] + struct.pack(">II", 30_000, 30_000) + png[24:]
        jpeg = compressed(photo(64, 48)).data.tobytes()
        at = jpeg.index(b"\xff\xc0") + 5
        jpeg = jpeg[:at] + struct.pack(">HH", 30_000, 30_000) + jpeg[at + 4 :]
        for data in (png, jpeg):
            with pytest.raises(ImageError, match="claims 30000x30000 pixels: accepted are up to 64 million"):
                open_image(SimpleNamespace(format="", data=array.array("B", data)))

    @pytest.mark.parametrize("place", ["IHDR", "IDAT", "IEND", "more"])
    def test_a_chunk_of_a_png_that_claims_more_than_there_is_is_refused(self, place: str) -> None:
        """Bug: OpenCV allocated what the chunk claims, 2 GB for a picture of 100 bytes."""
        png = compressed(photo(64, 48), ".png").data.tobytes()
        if place == "more":
            end = png.index(b"IEND") - 4
            png = png[:end] + struct.pack(">I", 2**31 - 1) + b"tEXt" + png[end:]
        else:
            at = png.index(place.encode()) - 4
            png = png[:at] + struct.pack(">I", 2**31 - 1) + png[at + 4 :]
        with pytest.raises(ImageError, match="do not lead to its end|does not begin with its header"):
            open_image(SimpleNamespace(format="png", data=array.array("B", png)))

    @pytest.mark.parametrize("marker", [b"\xff\x00", b"\xff\x01", b"\xff\xd0", b"\xff\xd7"])
    def test_no_other_frame_header_is_found_than_by_the_decoder(self, marker: bytes) -> None:
        """A decoder goes on right after a marker without a length; a small picture hid a large one so."""
        jpeg = compressed(photo(64, 48)).data.tobytes()
        small = b"\xff\xc0" + struct.pack(">HBHHB", 17, 8, 8, 8, 3)
        hidden = jpeg[:2] + marker + b"\x00\x10" + b"\x00" * 14 + small + jpeg[2:]
        with pytest.raises(ImageError, match="no frame header"):
            open_image(SimpleNamespace(format="", data=array.array("B", hidden)))

    def test_a_jpeg_of_many_scans_is_refused(self) -> None:
        """Each of them goes over the whole picture: a few MB would take many seconds."""
        flags = [cv2.IMWRITE_JPEG_PROGRESSIVE, 1]
        jpeg = cv2.imencode(".jpg", photo(64, 48), flags)[1].tobytes()
        last = jpeg[jpeg.rindex(b"\xff\xda") : -2]
        open_image(SimpleNamespace(format="", data=array.array("B", jpeg))).cut(0, 0, 64, 48)
        many = jpeg[:-2] + 95 * last + jpeg[-2:]
        with pytest.raises(ImageError, match="64x48 pixels.* has 105 scans: accepted are up to 100"):
            open_image(SimpleNamespace(format="", data=array.array("B", many)))

    def test_deep_png_is_refused(self) -> None:
        data = cv2.imencode(".png", np.zeros((8, 8), np.uint16))[1].tobytes()
        with pytest.raises(ImageError, match="PNG of 16 bits"):
            open_image(SimpleNamespace(format="16UC1; png compressed", data=array.array("B", data)))


class TestBoxes:
    def box(self, cx: float, cy: float, w: float, h: float, theta: float = 0.0) -> SimpleNamespace:
        centre = SimpleNamespace(position=SimpleNamespace(x=cx, y=cy), theta=theta)
        return SimpleNamespace(center=centre, size_x=w, size_y=h)

    def test_centre_and_size(self) -> None:
        assert box_from_msg(self.box(50, 40, 20, 10)).tolist() == [40, 35, 20, 10]

    @pytest.mark.parametrize("theta", [0.1, -3.14])
    def test_a_rotated_box_is_refused(self, theta: float) -> None:
        with pytest.raises(BoxError, match="rotated.*theta = 0"):
            box_from_msg(self.box(50, 40, 20, 10, theta))

    @pytest.mark.parametrize("number", [float("nan"), float("inf")])
    @pytest.mark.parametrize("place", range(5))
    def test_a_number_that_is_not_finite_is_refused(self, place: int, number: float) -> None:
        numbers = [50.0, 40.0, 20.0, 10.0, 0.0]
        numbers[place] = number
        with pytest.raises(BoxError, match=f"{number:g}.*every number must be finite"):
            box_from_msg(self.box(*numbers))

    def test_stamp(self) -> None:
        assert stamp_ns(SimpleNamespace(sec=2_000_000_001, nanosec=7)) == 2_000_000_001_000_000_007

    def test_track_to_detection_and_back(self) -> None:
        pytest.importorskip("vision_msgs.msg", reason="vision_msgs is not built: see scripts/setup.sh")
        from std_msgs.msg import Header

        header = Header(frame_id="camera")
        header.stamp.sec, header.stamp.nanosec = 12, 34
        track = Track(np.array([10.25, 20.5, 30.0, 40.125]), 0.75, TrackState.TRACKING, 0, 0, 3)
        detection = track_to_detection("7", "car", track, header)
        assert detection.header == header and detection.id == "7"
        assert [(r.hypothesis.class_id, r.hypothesis.score) for r in detection.results] == [("car", 0.75)]
        assert float(iou(box_from_msg(detection.bbox), track.box_xywh)) == 1.0
        unlabelled = track_to_detection("7", "", track, header)  # displays show the class alone
        assert [(r.hypothesis.class_id, r.hypothesis.score) for r in unlabelled.results] == [("7", 0.75)]
