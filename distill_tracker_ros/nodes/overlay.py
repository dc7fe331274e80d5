"""A small picture of what is tracked, for people."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np

from ..core.config import check_ranges, option
from ..core.frame import Frame
from ..core.session import Target
from ..core.tracker import Track
from ..drawing import draw_track


@dataclass(frozen=True)
class OverlayConfig:
    """The picture on ~/overlay/compressed."""

    width_px: int = option(640, "width of the picture; wider images are made smaller; 0 = never", 0, 8192)
    jpeg_quality: int = option(80, "quality of the JPEG", 1, 100)

    def __post_init__(self) -> None:
        check_ranges(self)


def render(frame: Frame, targets: Iterable[tuple[Target, Track]], config: OverlayConfig) -> bytes:
    """The frame with its targets drawn, as a JPEG."""
    scale = min(1.0, (config.width_px or frame.width) / frame.width)
    size = (max(1, round(frame.width * scale)), max(1, round(frame.height * scale)))
    rgb = frame.cut(0, 0, frame.width, frame.height, shrink=1 / scale)
    picture = cv2.cvtColor(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2BGR)
    for target, track in targets:
        caption = f"{target.id} {target.label}".strip()
        draw_track(picture, np.asarray(track.box_xywh) * scale, caption, track.confidence, track.state)  # type: ignore[arg-type]
    return cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, config.jpeg_quality])[1].tobytes()
