"""General benchmarks, most of which have a folder a sequence: OTB100 (and DTB70, which is laid out like it),
LaSOT, GOT-10k, TrackingNet, Need for Speed, VOT."""

from __future__ import annotations

import configparser
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...core.texts import shown
from ..annotations import read_corners, read_lines, read_numbers, read_regions, read_truth
from ..sequences import TRUTH_FILE, ImageFrames, Sequence, SequenceError, checked, is_image
from .layout import Layout, attributes, first_existing, folders, labels, listed, number, span, texts

OTB_ATTRIBUTES = {  # in the order of the benchmark's files of zeros and ones
    "IV": "illumination variation",
    "OPR": "out-of-plane rotation",
    "SV": "scale variation",
    "OCC": "occlusion",
    "DEF": "deformation",
    "MB": "motion blur",
    "FM": "fast motion",
    "IPR": "in-plane rotation",
    "OV": "out of view",
    "BC": "background clutter",
    "LR": "low resolution",
}

DTB70_ATTRIBUTES = (
    "scale variation",
    "aspect ratio variation",
    "occlusion",
    "deformation",
    "fast camera motion",
    "in-plane rotation",
    "out-of-plane rotation",
    "out of view",
    "background clutter",
    "similar objects around",
    "motion blur",
)

LASOT_ATTRIBUTES = (
    "illumination variation",
    "partial occlusion",
    "deformation",
    "motion blur",
    "camera motion",
    "rotation",
    "background clutter",
    "viewpoint change",
    "scale variation",
    "full occlusion",
    "fast motion",
    "out of view",
    "low resolution",
    "aspect ratio change",
)

# Sequences of OTB100 with more images than boxes: numbers of the first and the last image with a box.
OTB_SPANS = {
    "David": (300, 770),
    "Diving": (1, 215),
    "Football1": (1, 74),
    "Freeman3": (1, 460),
    "Freeman4": (1, 283),
}
# Number of the image on which the benchmark's one-pass evaluation begins: the target is hidden before.
OTB_FIRST = {"Tiger1": 6}

LASOT_EXTENSION_CLASSES = frozenset(
    {
        "atv",
        "badminton",
        "cosplay",
        "dancingshoe",
        "footbag",
        "frisbee",
        "jianzi",
        "lantern",
        "misc",
        "opossum",
        "paddle",
        "raccoon",
        "rhino",
        "skatingshoe",
        "wingsuit",
    }
)

FASTEST_HZ = 100_000

GOT10K_SPLITS = ("train", "val", "test")


class Otb100(Layout):
    """OTB100 (OTB-2015). Two targets in the same images are two sequences: Jogging.1, Jogging.2."""

    title = "OTB100"
    expects = "NAME/img/0001.jpg and NAME/groundtruth_rect.txt"

    def recognises(self, root: Path) -> bool:
        return any(not _is_numbered_like_dtb70(place.parent) for place in self.find(root).values())

    def find(self, root: Path) -> dict[str, Path]:
        found, lacking = {}, []
        for folder in [root] if (root / "img").is_dir() else folders(root):
            if not (folder / "img").is_dir():
                continue
            truths = [path for path in sorted(folder.glob("groundtruth_rect*.txt")) if path.stat().st_size]
            if not truths and not (folder / TRUTH_FILE).exists():  # which is LaSOT's
                lacking.append(folder)
            for path in truths:  # groundtruth_rect.txt, or groundtruth_rect.1.txt and groundtruth_rect.2.txt
                found[folder.name + path.stem.removeprefix("groundtruth_rect")] = path
        if found and lacking:
            raise self.lacks(lacking[0] / "groundtruth_rect.txt", f"the true boxes of {lacking[0].name}")
        return found

    def read(self, root: Path, name: str, place: Path) -> Sequence:
        folder = place.parent
        images, truth = self.images(folder / "img", name), read_truth(place)
        if len(images) != len(truth) and folder.name in OTB_SPANS:
            images = span(images, *OTB_SPANS[folder.name])
        sequence = Sequence(name, ImageFrames(images), truth, attributes=self._attributes(root, name, folder))
        whole = checked(sequence, place, folder / "img")
        omitted = sum(number(path) < OTB_FIRST.get(folder.name, 0) for path in images)
        return whole.part(slice(omitted, None)) if omitted else whole

    def _attributes(self, root: Path, name: str, folder: Path) -> tuple[str, ...]:
        codes = folder / "attrs.txt"
        if codes.exists():
            named = re.findall(r"\w+", " ".join(read_lines(codes)))
            return tuple(text for code, text in OTB_ATTRIBUTES.items() if code in named)
        return attributes(_attribute_file(root, name), tuple(OTB_ATTRIBUTES.values()))


class Dtb70(Otb100):
    """DTB70, which is laid out like OTB100."""

    title = "DTB70"
    expects = "NAME/img/00001.jpg and NAME/groundtruth_rect.txt"

    def recognises(self, root: Path) -> bool:
        return any(_is_numbered_like_dtb70(place.parent) for place in self.find(root).values())

    def _attributes(self, root: Path, name: str, folder: Path) -> tuple[str, ...]:
        return attributes(_attribute_file(root, name), DTB70_ATTRIBUTES)


class Lasot(Layout):
    """LaSOT: its 70 classes, or the 15 of its extension."""

    expects = "CLASS/CLASS-1/img/00000001.jpg and CLASS/CLASS-1/groundtruth.txt"

    def __init__(self, title: str, is_extension: bool) -> None:
        self.title, self._is_extension = title, is_extension

    def find(self, root: Path) -> dict[str, Path]:
        """The test set alone where the benchmark's own list of it, testing_set.txt, lies in the folder."""
        found, testing = self.find_all(root), root / "testing_set.txt"
        wanted = set(listed(testing)) if testing.exists() else found.keys()
        return {name: place for name, place in found.items() if name in wanted}

    def find_all(self, root: Path) -> dict[str, Path]:
        """Of the training set as well."""
        places = self._folders(root)
        lacking = [place for place in places if not (place / TRUTH_FILE).exists()]
        if lacking and len(lacking) < len(places):
            raise self.lacks(lacking[0] / TRUTH_FILE, f"the true boxes of {lacking[0].name}")
        return {} if lacking else {place.name: place for place in places}

    def read(self, root: Path, name: str, place: Path) -> Sequence:
        images = self.images(place / "img", name)
        hidden = [place / "full_occlusion.txt", place / "out_of_view.txt"]
        present = None
        if all(path.exists() for path in hidden):
            present = ~np.any([labels(path, len(images)) for path in hidden], axis=0)
        marks = attributes(_attribute_file(root, name), LASOT_ATTRIBUTES)
        return self.sequence(
            name, images, place / TRUTH_FILE, present=present, attributes=marks, rate_hz=30.0
        )

    def _folders(self, root: Path) -> list[Path]:
        """Of the sequences of this half of LaSOT."""
        if (root / "img").is_dir():
            candidates = [root]
        else:
            candidates = []
            for child in folders(root):
                if (child / "img").is_dir():
                    candidates.append(child)
                elif not (child / TRUTH_FILE).exists():  # a class, unless it is another benchmark's sequence
                    candidates += [f for f in folders(child) if f.name.startswith(f"{child.name}-")]
        return [
            folder
            for folder in candidates
            if (folder.name.rsplit("-", 1)[0] in LASOT_EXTENSION_CLASSES) == self._is_extension
            and not any(folder.glob("groundtruth_rect*.txt"))  # which is OTB's
        ]


class Got10k(Layout):
    """GOT-10k: one of its splits."""

    title = "GOT-10k"
    expects = "val/list.txt, val/NAME/00000001.jpg and val/NAME/groundtruth.txt"

    def find(self, root: Path) -> dict[str, Path]:
        if self._is_own(root):
            return {root.name: root}
        found = self._split(root)
        if found:
            return found
        splits = {name: split for name in GOT10K_SPLITS if (split := self._split(root / name))}
        if len(splits) > 1:
            raise SequenceError(
                f"{root} holds the splits {', '.join(splits)} of {self.title}: give the folder of one, "
                f"such as {root / next(iter(splits))}"
            )
        return next(iter(splits.values()), {})

    def read(self, root: Path, name: str, place: Path) -> Sequence:
        images = self.images(place, name)
        absent, cover = place / "absence.label", place / "cover.label"
        present = None
        if absent.exists() and cover.exists():
            present = (labels(absent, len(images)) == 0) & (labels(cover, len(images)) > 0)
        about = _meta_info(place / "meta_info.ini")
        kinds = {"class": about.get("object_class"), "motion": about.get("motion_class")}
        rate = re.match(r"[\d.]+", about.get("anno_fps", ""))
        return self.sequence(
            name,
            images,
            place / TRUTH_FILE,
            may_have_first_box_only=True,
            present=present,
            attributes=tuple(f"{kind} {value}" for kind, value in kinds.items() if value),
            rate_hz=_rate_hz(place / "meta_info.ini", rate[0]) if rate else 10.0,
        )

    def _split(self, folder: Path) -> dict[str, Path]:
        if (folder / "list.txt").exists():
            return _of_list(self, folder / "list.txt", self._is_own)
        return {path.name: path for path in folders(folder) if self._is_own(path)}

    @staticmethod
    def _is_own(folder: Path) -> bool:
        """Whether it is a sequence of this layout."""
        marked = folder.name.startswith("GOT-10k_") or (folder / "meta_info.ini").exists()
        return (marked or (folder / "absence.label").exists()) and (folder / TRUTH_FILE).exists()


class TrackingNet(Layout):
    """TrackingNet: its test set, or one or more chunks of its training set."""

    title = "TrackingNet"
    expects = "TEST/anno/NAME.txt and TEST/frames/NAME/0.jpg"

    def find(self, root: Path) -> dict[str, Path]:
        chunks = [c for c in (root, *folders(root)) if (c / "anno").is_dir() and (c / "frames").is_dir()]
        if len({chunk.name.startswith("TRAIN") for chunk in chunks}) > 1:
            raise SequenceError(
                f"{root} holds training and test set of {self.title}: give the folder of one, {root / 'TEST'}"
            )
        found = {}
        for chunk in chunks:
            found.update(texts(chunk / "anno"))
            for folder in folders(chunk / "frames"):
                if folder.name not in found:
                    place = chunk / "anno" / f"{folder.name}.txt"
                    raise self.lacks(place, f"the true boxes of {folder.name}")
        return found

    def read(self, root: Path, name: str, place: Path) -> Sequence:
        images = self.images(place.parents[1] / "frames" / name, name)
        return self.sequence(name, images, place, may_have_first_box_only=True)


class Nfs(Layout):
    """Need for Speed, at one of its two rates."""

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self.title = f"Need for Speed ({rate} frames/s)"
        self.expects = f"NAME/{rate}/NAME/00001.jpg and NAME/{rate}/NAME.txt"

    def find(self, root: Path) -> dict[str, Path]:
        found = {}
        for folder in (root, *folders(root)):
            name = folder.name
            place = folder / str(self._rate) / f"{name}.txt"
            if place.exists():
                found[name] = place
            elif (place.parent / name).is_dir():
                raise self.lacks(place, f"the true boxes of {name}")
        return found

    def read(self, root: Path, name: str, place: Path) -> Sequence:
        images, truth = self.images(place.with_suffix(""), name), read_corners(place)
        if abs(len(truth) / len(images) - 8) < 1:  # the boxes of 240 frames/s beside images at 30
            truth = truth[::8]
        if abs(len(truth) - len(images)) == 1:  # known of several sequences
            images, truth = images[: len(truth)], truth[: len(images)]
        return checked(
            Sequence(name, ImageFrames(images), truth, float(self._rate)), place, place.with_suffix("")
        )


class Vot(Layout):
    """The short-term challenges of VOT."""

    title = "VOT"
    expects = "list.txt, NAME/color/00000001.jpg and NAME/groundtruth.txt"

    def recognises(self, root: Path) -> bool:
        if (root / "list.txt").exists():
            return not Got10k().recognises(root) and bool(self.find(root))
        return any(
            (place / "color").is_dir() or (place / "sequence").is_file() for place in self.find(root).values()
        )

    def find(self, root: Path) -> dict[str, Path]:
        if (root / TRUTH_FILE).exists():
            return {root.name: root}
        if (root / "list.txt").exists():
            return _of_list(self, root / "list.txt", lambda folder: (folder / TRUTH_FILE).exists())
        return {path.name: path for path in folders(root) if (path / TRUTH_FILE).exists()}

    def read(self, root: Path, name: str, place: Path) -> Sequence:
        colour = place / "color"
        images = self.images(colour if colour.is_dir() else place, name)
        marks = [path for path in sorted(place.iterdir()) if path.suffix in (".tag", ".label")]
        marked = [path.stem for path in marks if path.stat().st_size and read_numbers(path).any()]
        anchors = place / "anchor.value"
        return self.sequence(
            name,
            images,
            place / TRUTH_FILE,
            parse=read_regions,
            may_have_first_box_only=True,
            attributes=tuple(name.replace("_", " ") for name in marked),
            rate_hz=_vot_rate_hz(place / "sequence"),
            anchors=_vot_anchors(read_numbers(anchors)) if anchors.exists() else (),
        )


def _is_numbered_like_dtb70(folder: Path) -> bool:
    """With five digits; OTB100 has four, but for one sequence."""
    first = next((path for path in (folder / "img").iterdir() if is_image(path)), None)
    return first is not None and len(first.stem) == 5 and folder.name != "Board"


def _attribute_file(root: Path, name: str) -> Path | None:
    """Of the evaluation tools of OTB100, DTB70 and LaSOT, which are downloaded apart from the images."""
    file = f"{name.replace('.', '-')}.txt"
    return first_existing([root / "att" / file, root / "anno" / "att" / file])


def _of_list(layout: Layout, path: Path, is_own: Callable[[Path], bool]) -> dict[str, Path]:
    """The sequences that a list beside them names; none if not one of them is of the layout."""
    found = {name: path.parent / name for name in listed(path)}
    if not any(is_own(folder) for folder in found.values()):
        return {}
    for folder in found.values():
        if not (folder / TRUTH_FILE).exists():
            raise layout.lacks(folder / TRUTH_FILE, f"{path} names it")
    return found


def _meta_info(path: Path) -> dict[str, str]:
    if not path.exists():
        return {}
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string("\n".join(read_lines(path)))
        return dict(parser["METAINFO"])
    except (configparser.Error, KeyError) as error:
        raise SequenceError(f"{path} must be key: value lines below [METAINFO]: {error}") from None


def _vot_rate_hz(path: Path) -> float | None:
    """Of `fps=30` in the file that the toolkit writes beside a sequence."""
    found = (
        re.search(r"^fps\s*=\s*([\d.]+)\s*$", "\n".join(read_lines(path)), re.M) if path.exists() else None
    )
    return _rate_hz(path, found[1]) if found else None


def _rate_hz(path: Path, text: str) -> float:
    """Of digits and dots."""
    try:
        rate_hz = float(text)
    except ValueError:
        rate_hz = 0.0
    if not 0 < rate_hz <= FASTEST_HZ:
        what = f"it must be above 0, up to {FASTEST_HZ} frames/s"
        raise SequenceError(f"{path} has the rate {shown(text)}: {what}")
    return rate_hz


def _vot_anchors(values: NDArray[np.float64]) -> tuple[int, ...]:
    """See `Sequence.anchors`; the file has a number a frame: above 0 forwards, below 0 backwards, 0 none."""
    signed = (frame if value > 0 else -frame for frame, value in enumerate(values) if value)
    backwards_from_0 = len(values) > 0 and values[0] < 0
    return tuple(signed)[1 if backwards_from_0 else 0 :]
