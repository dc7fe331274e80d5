"""Benchmarks from drones that keep annotations apart from images: UAV123 and its kin, UAVDT, VisDrone."""

from __future__ import annotations

from pathlib import Path

from ..annotations import read_truth
from ..sequences import Sequence, SequenceError
from .layout import Layout, attributes, first_existing, folders, span, texts

# Folders of UAV123 that hold several sequences, FOLDER_1, FOLDER_2 ...: first and last frame of each, from 1.
# All other sequences have a folder of their own.
PARTS = {
    "bird1": ((1, 253), (775, 1477), (1573, 2437)),
    "car1": ((1, 751), (751, 1627), (1627, 2629)),
    "car6": ((1, 487), (487, 1807), (1807, 2953), (2953, 3925), (3925, 4861)),
    "car8": ((1, 1357), (1357, 2575)),
    "car16": ((1, 415), (415, 1993)),
    "group1": ((1, 1333), (1333, 2515), (2515, 3925), (3925, 4873)),
    "group2": ((1, 907), (907, 1771), (1771, 2683)),
    "group3": ((1, 1567), (1567, 2827), (2827, 4369), (4369, 5527)),
    "person2": ((1, 1189), (1189, 2623)),
    "person4": ((1, 1501), (1501, 2743)),
    "person5": ((1, 877), (877, 2101)),
    "person7": ((1, 1249), (1249, 2065)),
    "person8": ((1, 1075), (1075, 1525)),
    "person12": ((1, 601), (601, 1621)),
    "person14": ((1, 847), (847, 1813), (1813, 2923)),
    "person17": ((1, 1501), (1501, 2347)),
    "person19": ((1, 1243), (1243, 2791), (2791, 4357)),
    "truck4": ((1, 577), (577, 1261)),
    "uav1": ((1, 1555), (1555, 2377), (2473, 3469)),
}

UAV123_ATTRIBUTES = (
    "scale variation",
    "aspect ratio change",
    "low resolution",
    "fast motion",
    "full occlusion",
    "partial occlusion",
    "out of view",
    "background clutter",
    "illumination variation",
    "viewpoint change",
    "camera motion",
    "similar object",
)

UAVDT_ATTRIBUTES = (
    "background clutter",
    "camera motion",
    "object motion",
    "small object",
    "illumination variation",
    "object blur",
    "scale variation",
    "long-term tracking",
    "large occlusion",
)

VISDRONE_ATTRIBUTES = (
    "aspect ratio change",
    "background clutter",
    "camera motion",
    "fast motion",
    "full occlusion",
    "illumination variation",
    "low resolution",
    "out of view",
    "partial occlusion",
    "similar object",
    "scale variation",
    "viewpoint change",
)


def parts(every: int = 1) -> dict[str, tuple[str, int, int]]:
    """Sequence -> (folder, first frame, last frame) of those that share a folder.

    Args:
        every: 3 for UAV123@10fps, which keeps every third frame, the first one among them, and numbers them
            again.
    """
    return {
        f"{folder}_{number}": (folder, (first - 1) // every + 1, (last - 1) // every + 1)
        for folder, spans in PARTS.items()
        for number, (first, last) in enumerate(spans, start=1)
    }


class Uav123(Layout):
    """UAV123, UAV123@10fps or UAV20L."""

    def __init__(self, title: str, key: str, images_key: str, every: int = 1) -> None:
        """
        Args:
            key: folder of the annotations.
            images_key: folder of the images.
            every: of how many frames of UAV123 one is there.
        """
        self.title, self._key, self._images_key = title, key, images_key
        self.expects = f"anno/{key}/NAME.txt and data_seq/{images_key}/FOLDER/000001.jpg"
        self._parts = parts(every) if key == images_key else {}  # UAV20L has whole folders of UAV123
        self._rate_hz = 30.0 / every

    def recognises(self, root: Path) -> bool:
        return (root / "anno" / self._key).is_dir()

    def find(self, root: Path) -> dict[str, Path]:
        annotations = root / "anno" / self._key
        found = texts(annotations)
        if self._key == self._images_key:  # UAV20L has not all of the folders
            for name in self._names(root):
                if name not in found:
                    raise self.lacks(annotations / f"{name}.txt", f"the true boxes of {name}")
        return found

    def read(self, root: Path, name: str, place: Path) -> Sequence:
        folder, first, last = self._parts.get(name, (name, 1, None))
        images = self.images(self._images_root(root) / folder, name)
        if last is None:  # from the first image on, for as long as it is annotated
            last = first + len(read_truth(place)) - 1
        within = span(images, first, last)
        if not within:
            raise SequenceError(
                f"{self._images_root(root) / folder} has none of the images {first} to {last} of {name}"
            )
        files = [place.parent / "att" / place.name, root / "anno" / "att" / place.name]
        marks = attributes(first_existing(files), UAV123_ATTRIBUTES)
        return self.sequence(name, within, place, attributes=marks, rate_hz=self._rate_hz)

    def _images_root(self, root: Path) -> Path:
        return root / "data_seq" / self._images_key

    def _names(self, root: Path) -> list[str]:
        """Of the sequences whose images are there."""
        shared = {folder for folder, _, _ in self._parts.values()}
        there = {path.name for path in folders(self._images_root(root))}
        return sorted(there - shared) + [name for name, part in self._parts.items() if part[0] in there]


class Uavdt(Layout):
    """The single object tracking part of UAVDT, as it is downloaded or with its folders renamed."""

    title = "UAVDT"
    expects = "anno/NAME_gt.txt and sequences/NAME/img000001.jpg"

    def find(self, root: Path) -> dict[str, Path]:
        for kind in ("anno", "annotations", "UAV-benchmark-SOT_v1.0/anno"):
            truths = sorted((root / kind).glob("*_gt.txt"))
            if truths:
                return {path.stem.removesuffix("_gt"): path for path in truths}
        return {}

    def read(self, root: Path, name: str, place: Path) -> Sequence:
        kinds = ("sequences", "UAV-benchmark-S", "data_seq", ".")
        folder = first_existing(root / kind / name for kind in kinds) or root / "sequences" / name
        marks = attributes(first_existing([place.parent / "att" / f"{name}_att.txt"]), UAVDT_ATTRIBUTES)
        return self.sequence(name, self.images(folder, name), place, attributes=marks, rate_hz=30.0)


class VisDrone(Layout):
    """The single object tracking part of VisDrone."""

    title = "VisDrone-SOT"
    expects = "annotations/NAME.txt and sequences/NAME/img0000001.jpg"

    def recognises(self, root: Path) -> bool:
        both = (root / "sequences").is_dir() and (root / "annotations").is_dir()
        return both and not any((root / "annotations").glob("*_gt.txt"))  # those are UAVDT's

    def find(self, root: Path) -> dict[str, Path]:
        found = texts(root / "annotations")
        for folder in folders(root / "sequences"):
            if folder.name not in found:
                place = root / "annotations" / f"{folder.name}.txt"
                raise self.lacks(place, f"the true boxes of {folder.name}")
        return found

    def read(self, root: Path, name: str, place: Path) -> Sequence:
        images = self.images(root / "sequences" / name, name)
        marks = attributes(first_existing([root / "attributes" / f"{name}_attr.txt"]), VISDRONE_ATTRIBUTES)
        return self.sequence(name, images, place, attributes=marks)
