"""How public benchmarks and sequences of one's own lie on disk, and how they are told apart."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

from ..sequences import SequenceError, Sequences
from .general import Dtb70, Got10k, Lasot, Nfs, Otb100, TrackingNet, Vot
from .layout import Layout
from .own import Annotations, Bags, Folder, Video
from .uav import Uav123, Uavdt, VisDrone

BENCHMARKS: dict[str, Layout] = {
    "otb100": Otb100(),
    "uav123": Uav123("UAV123", "UAV123", "UAV123"),
    "uav123_10fps": Uav123("UAV123@10fps", "UAV123_10fps", "UAV123_10fps", every=3),
    "uav20l": Uav123("UAV20L", "UAV20L", "UAV123"),
    "dtb70": Dtb70(),
    "uavdt": Uavdt(),
    "visdrone": VisDrone(),
    "lasot": Lasot("LaSOT", is_extension=False),
    "lasot_extension": Lasot("LaSOT extension", is_extension=True),
    "got10k": Got10k(),
    "trackingnet": TrackingNet(),
    "nfs30": Nfs(30),
    "nfs240": Nfs(240),
    "vot": Vot(),
}
OWN: dict[str, Layout] = {"folder": Folder(), "video": Video(), "bag": Bags(), "annotations": Annotations()}

FORMATS: tuple[str, ...] = (*BENCHMARKS, *OWN)


def find_sequences(path: Path, format: str = "auto") -> Sequences:
    """See `sequences.open_sequences`."""
    path = Path(os.path.abspath(path))  # `.` has a name then, and links keep theirs
    if not path.exists():
        raise SequenceError(f"{path} does not exist: give a folder of sequences, a video file or a bag")
    if format == "auto":
        format = recognise(path)
    layouts = {**BENCHMARKS, **OWN}
    if format not in layouts:
        raise SequenceError(f"there is no format {format!r}: it must be auto, {', '.join(FORMATS)}")
    layout = layouts[format]
    found = layout.find(path)
    if not found:
        raise SequenceError(f"{path} holds no sequence of the format {format}: {layout.expects}")
    name = layout.title if format in BENCHMARKS else path.stem if path.is_file() else path.name
    return Sequences(name, format, path, found, partial(layout.read, path))


def recognise(path: Path) -> str:
    """The format of a file or a folder, by the names in it.

    Raises:
        SequenceError: it is of none, of two, or a piece of it is missing.
    """
    if OWN["bag"].recognises(path):
        return "bag"
    if path.is_file():
        return "video"
    found = [format for format, layout in BENCHMARKS.items() if layout.recognises(path)]
    if len(found) > 1:
        titles = " and ".join(BENCHMARKS[format].title for format in found)
        raise SequenceError(
            f"{path} could be {titles}: say which with --format {' or --format '.join(found)}"
        )
    if found:
        return found[0]
    for format in ("folder", "bag", "annotations"):  # these say less of themselves: the first that fits
        if OWN[format].find(path):
            return format
    raise SequenceError(
        f"{path} holds no sequence that is recognised, such as {OWN['folder'].expects}; all formats are in "
        "docs/benchmarks.md"
    )
