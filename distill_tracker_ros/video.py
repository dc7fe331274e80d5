"""Writing video files with OpenCV."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray


class VideoError(RuntimeError):
    """A video file that cannot be written."""


class VideoWriter:
    """An mp4 file that grows frame by frame; use it in a `with` block, so that the file is finished.

    The first frame gives the size; a frame of another size is scaled to it.
    """

    def __init__(self, path: Path, rate_hz: float) -> None:
        self._path, self._rate_hz = path, rate_hz
        self._writer: cv2.VideoWriter | None = None
        self._size = (0, 0)

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, *error: object) -> None:
        if self._writer is not None:
            self._writer.release()

    def write(self, bgr: NDArray[np.uint8]) -> None:
        """Append a frame (H, W, 3).

        Raises:
            VideoError: the file cannot be written, or this OpenCV has no encoder for it.
        """
        if self._writer is None:
            self._size = (bgr.shape[1], bgr.shape[0])
            # MPEG-4 part 2 is the one codec of mp4 that all builds of OpenCV with ffmpeg write and read.
            codec = cv2.VideoWriter.fourcc(*"mp4v")
            self._writer = cv2.VideoWriter(str(self._path), codec, self._rate_hz, self._size)
            if not self._writer.isOpened():
                raise VideoError(
                    f"{self._path} cannot be written: no such folder, or OpenCV lacks the mp4v encoder"
                )
        if (bgr.shape[1], bgr.shape[0]) != self._size:
            bgr = cv2.resize(bgr, self._size, interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
        self._writer.write(bgr)
