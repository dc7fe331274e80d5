"""Image messages of every encoding and size, and pictures whose bytes are wrong."""

from __future__ import annotations

import array
import struct
import zlib
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
from hypothesis import strategies as st
from mutations import NUMBERS, mutated, odd_texts

from distill_tracker_ros.core.crop import Region, cut
from distill_tracker_ros.messages import ENCODINGS, ImageError, open_image

SIZE = 64  # of the crop
PNG_HEAD = 8


Place = tuple[float, float, int]  # of a region: its centre, in sides of the frame; its side, px


def look_at(msg: Any, places: list[Place]) -> None:
    """Open an image and cut what a tracker cuts: squares of any size that reach into the frame."""
    frame = open_image(msg)
    assert frame.width > 0 and frame.height > 0
    for x, y, side in places:
        region = Region(round(x * frame.width - side / 2), round(y * frame.height - side / 2), side)
        assert cut(frame, region, SIZE).shape == (SIZE, SIZE, 3)


def looks() -> st.SearchStrategy[list[Place]]:
    place = st.floats(-0.1, 1.1)
    return st.lists(
        st.tuples(place, place, st.integers(1, 200) | st.integers(1, 3000)), min_size=1, max_size=2
    )


def pictures() -> list[bytes]:
    """Baseline and progressive JPEGs, grey and colour, with restarts; PNGs of several kinds."""
    rng = np.random.default_rng(0)
    rgb = cv2.resize(rng.integers(0, 256, (9, 12, 3), np.uint8), (96, 72), interpolation=cv2.INTER_CUBIC)
    jpeg, png = ".jpg", ".png"
    made = [
        (jpeg, rgb, []),
        (jpeg, rgb[..., 0], []),
        (jpeg, rgb, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1]),
        (jpeg, rgb, [cv2.IMWRITE_JPEG_RST_INTERVAL, 2]),
        (jpeg, rgb[:1, :1], []),
        (png, rgb, []),
        (png, rgb[..., 0], []),
        (png, np.dstack([rgb, rgb[..., 0]]), []),
        (png, rgb[..., 0], [cv2.IMWRITE_PNG_BILEVEL, 1]),
    ]
    return [cv2.imencode(kind, image, flags)[1].tobytes() for kind, image, flags in made]


def with_checksums(png: bytes) -> bytes:
    """The same with checksums that fit: without them a decoder looks no further."""
    at, parts = PNG_HEAD, [png[:PNG_HEAD]]
    while at + 12 <= len(png):
        (size,) = struct.unpack_from(">I", png, at)
        body = png[at + 4 : at + 8 + size]
        parts += [png[at : at + 4], body, struct.pack(">I", zlib.crc32(body))]
        at += 12 + size
    return b"".join([*parts, png[at:]])


def with_end(data: bytes) -> bytes:
    """The same with its end marker: without it nothing is looked at."""
    return data + (b"\xff\xd9" if data.startswith(b"\xff\xd8") else b"\0\0\0\0IEND\xaeB`\x82")


def claiming(data: bytes, width: int, height: int) -> bytes:
    """The same with another size in its header."""
    if data.startswith(b"\x89"):
        return data[:16] + struct.pack(">II", width % 2**32, height % 2**32) + data[24:]
    at = max(data.find(b"\xff\xc0"), data.find(b"\xff\xc2")) + 5
    return data[:at] + struct.pack(">HH", height % 2**16, width % 2**16) + data[at + 4 :]


def places(samples: list[bytes]) -> list[int]:
    """Where the segments of the JPEGs begin, and the chunks of the PNGs."""
    marks = [b"\xff\xc0", b"\xff\xc2", b"\xff\xc4", b"\xff\xda", b"\xff\xdb", b"\xff\xdd", b"IHDR", b"IDAT"]
    return sorted(
        {at + k for data in samples for m in marks if (at := data.find(m)) >= 0 for k in range(-4, 20)}
    )


def test_raw_images(fuzz: Callable[..., None]) -> None:
    """Half of them with one number that is wrong, or none; the other half with any."""
    small, odd = st.integers(0, 40), st.sampled_from(NUMBERS).filter(lambda n: n < 2**32)
    sizes = {"rgba8": 4, "bgra8": 4, "rgb8": 3, "bgr8": 3, "8UC3": 3, "yuv422": 2, "uyvy": 2}
    sizes |= {"yuv422_yuy2": 2, "yuyv": 2}

    @st.composite
    def nearly_right(draw: Any) -> Any:
        encoding = draw(st.sampled_from(ENCODINGS))
        width, height = draw(st.integers(1, 40)) * 2, draw(st.integers(1, 40)) * 2
        step = width * sizes.get(encoding, 1) + draw(st.sampled_from((0, 0, 13)))
        rows = height * 3 // 2 if encoding.startswith("nv") else height
        data = array.array("B", bytes(step * rows))
        msg = SimpleNamespace(width=width, height=height, encoding=encoding, step=step, data=data)
        wrong = draw(st.sampled_from(("width", "height", "step", "data", "", "", "")))
        if wrong == "data":
            msg.data = data[: draw(st.integers(0, len(data)))]
        elif wrong:
            value = getattr(msg, wrong)
            setattr(msg, wrong, draw(st.integers(max(0, value - 2), value + 2) | odd))
        return msg

    @st.composite
    def messages(draw: Any) -> Any:
        encoding = draw(st.sampled_from([*ENCODINGS, "mono16", "bgra16", "32FC1", ""]) | odd_texts())
        width, height = draw(small | odd), draw(small | odd)
        row = width * draw(st.sampled_from((1, 2, 3, 4)))
        step = draw(st.just(row % 2**32) | small | odd | st.just((row + 13) % 2**32))
        size = draw(st.just(step * height) | st.just(step * height * 3 // 2) | st.integers(0, 5000))
        data = array.array("B", bytes(min(size, 30_000)))
        return SimpleNamespace(width=width, height=height, encoding=encoding, step=step, data=data)

    cases = st.tuples(nearly_right() | messages(), looks())
    fuzz("raw_images", "raw image messages", cases, lambda case: look_at(*case), ImageError, share=0.2)


def test_compressed_images(fuzz: Callable[..., None]) -> None:
    samples = pictures()
    changed = mutated(samples, places(samples))
    sides = st.integers(0, 1500) | st.integers(0, 1500) | st.sampled_from(NUMBERS)

    @st.composite
    def messages(draw: Any) -> tuple[Any, list[Place]]:
        data = draw(changed | st.sampled_from(samples) | st.binary(max_size=64))
        if data[:1] in (b"\xff", b"\x89") and len(data) > 32 and draw(st.integers(0, 3)) == 0:
            data = claiming(data, draw(sides), draw(sides))
        if draw(st.booleans()):
            data = with_end(data)
        if data.startswith(b"\x89PNG") and draw(st.booleans()):
            data = with_checksums(data)
        text = draw(st.sampled_from(("jpeg", "png", "bgr8; jpeg compressed bgr8")) | odd_texts())
        return SimpleNamespace(format=text, data=array.array("B", data)), draw(looks())

    fuzz(
        "compressed_images",
        "compressed images (JPEG, PNG)",
        messages(),
        lambda c: look_at(*c),
        ImageError,
        share=0.16,
        most_mb=1000.0,  # 64 million pixels that are decoded
    )
