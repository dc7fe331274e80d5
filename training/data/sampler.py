"""Training samples up to the pixels that they need: the layers of which their crops are drawn.

Sample number i is a function of (seed, i) alone, whatever the batch, the worker or the process, so a resumed
run sees what an uninterrupted one would have seen. The squares are those of `core.crop`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch.utils.data import Dataset

from .choices import Book, Chooser, wishes
from .config import DataConfig, Sizes
from .draws import Draws
from .footage import Footage
from .images import ImageStore
from .layers import cut_windows
from .patches import Batch, Patches, joined
from .scene import lay_out

__all__ = ["Batch", "DataConfig", "Patches", "Sampler", "Sizes"]

AT_ONCE = 32  # samples; their images are in memory together


class Sampler(Dataset[Patches]):
    """An endless, numbered supply of samples; indexed by the numbers of a batch."""

    def __init__(
        self,
        footage: Sequence[Footage],
        images: ImageStore,
        config: DataConfig,
        sizes: Sizes,
        seed: int,
    ) -> None:
        """
        Raises:
            ValueError: no object is left that can be used.
        """
        self.images, self.config, self.sizes, self.seed = images, config, sizes, seed
        self.resident: Mapping[Path, int] | None = None  # numbers of the images that the device holds
        self._chooser = Chooser(footage, config, sizes.template_slots, seed)

    def __getitem__(self, numbers: Sequence[int]) -> Patches:
        """The samples of these numbers; without pixels where the device holds the images.

        Raises:
            UnreadableImage: of a sample, and of all that were chosen in its place.
        """
        parts = [numbers[start : start + AT_ONCE] for start in range(0, len(numbers), AT_ONCE)]
        return joined([self._patches(part) for part in parts])

    def _patches(self, numbers: Sequence[int]) -> Patches:
        draws, book = Draws(self.seed, torch.tensor(numbers)), Book(self.images)
        wished = wishes(self.config, self.sizes.template_slots + 1, draws)
        choices = [self._chooser.choose(n, wish, book) for n, wish in zip(numbers, wished, strict=True)]
        patches = lay_out(choices, book, self.config, self.sizes, draws)
        if self.resident is None:
            return patches.cut(lambda windows, side: cut_windows(book.arrays, windows, side))
        return patches.renumbered(torch.tensor([self.resident[path] for path in book.numbers]))
