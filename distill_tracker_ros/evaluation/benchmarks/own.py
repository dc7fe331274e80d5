"""What is no benchmark: sequences, videos and bags of one's own, and annotations without images."""

from __future__ import annotations

from pathlib import Path

from ..annotations import read_truth
from ..bags import is_bag, rosbags_needed
from ..sequences import TRUTH_FILE, NoFrames, Sequence, SequenceError, is_image, read_sequence
from .layout import Layout, folders, texts


class Folder(Layout):
    """Folders of images with a groundtruth.txt, or a single folder of images with or without one."""

    title = "a folder of sequences"
    expects = f"NAME/000001.jpg and NAME/{TRUTH_FILE}"

    def find(self, root: Path) -> dict[str, Path]:
        if (root / TRUTH_FILE).exists() or any(is_image(path) for path in root.iterdir()):
            return {root.name: root}
        return {path.name: path for path in folders(root) if (path / TRUTH_FILE).exists()}

    def read(self, root: Path, name: str, place: Path) -> Sequence:
        return read_sequence(place)


class Video(Layout):
    """A video file, with its true boxes in a text file of the same name."""

    title = "a video"
    expects = "NAME.mp4 and, if there are true boxes, NAME.txt"

    def find(self, root: Path) -> dict[str, Path]:
        if not root.is_file():
            return {}
        if is_image(root):
            raise SequenceError(f"{root} is one image: give the folder of a sequence, or a video")
        return {root.stem: root}

    def read(self, root: Path, name: str, place: Path) -> Sequence:
        return read_sequence(place)


class Bags(Layout):
    """A bag, or a folder of several."""

    title = "a bag"
    expects = "NAME.mcap, NAME.db3, NAME.bag or NAME/metadata.yaml"

    def recognises(self, root: Path) -> bool:
        return is_bag(root)

    def find(self, root: Path) -> dict[str, Path]:
        within = sorted(root.iterdir()) if root.is_dir() else []
        bags = [root] if is_bag(root) else [path for path in within if is_bag(path)]
        return {bag.name if bag.is_dir() else bag.stem: bag for bag in bags}

    def read(self, root: Path, name: str, place: Path) -> Sequence:
        with rosbags_needed():
            from ..bags.reading import open_bag
        return open_bag(place)


class Annotations(Layout):
    """True boxes without images: results that others have published can be scored against them."""

    title = "annotations"
    expects = "NAME.txt, x,y,w,h a line"

    def find(self, root: Path) -> dict[str, Path]:
        return texts(root)

    def read(self, root: Path, name: str, place: Path) -> Sequence:
        truth = read_truth(place)
        return Sequence(name, NoFrames(len(truth), f"{place} has no images beside it: {name}"), truth)
