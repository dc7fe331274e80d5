"""An Engine without a model: it finds pixels of the template's colour, exactly, and counts its calls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from distill_tracker_ros.core.config import StoreConfig
from distill_tracker_ros.core.engine import ModelSpec, SearchOutput, State, TensorSpec, joined

SPEC = ModelSpec(
    name="stub",
    method="colour",
    template_slots=2,
    template_size=64,
    template_factor=2.0,
    search_size=128,
    search_factor=4.0,
    grid=16,
    window_weight=1.0,
    states=(TensorSpec("state_0", (2, 3), "float32"),),
    embedding_size=3,
    update=StoreConfig(),
    confidence_kind="probability",
    lost_threshold=0.4,
)

NO_TARGET = 0.01  # score of a cell without target
LEAST_AREA_PX = 9  # smaller specks are no target
REACH = 70.0  # RGB distance up to which a pixel has the target's colour


class StubEngine:
    """Follows the colour in the middle of its template crops.

    `state_0` holds the mean colour of each slot, (B, T, 3); a pixel belongs to a target when it is near the
    colour of any slot, so a target that changes its colour is followed only with refreshed templates.
    Every connected patch raises the cell of its centre and fills it with its box. The score falls with the
    distance to the nearest slot's colour: about 0.98 at none, below 0.5 from about 50 (of 255) on.
    """

    def __init__(self, **overrides: Any) -> None:
        """Any field of ModelSpec can be overridden."""
        spec = replace(SPEC, **overrides)
        if "states" not in overrides:
            spec = replace(spec, states=(TensorSpec("state_0", (spec.template_slots, 3), "float32"),))
        self.spec = spec
        self.template_calls = 0
        self.search_batches: list[int] = []  # batch size of every search call
        self.closed = False

    @property
    def search_calls(self) -> int:
        return len(self.search_batches)

    def encode_template(self, templates: NDArray[np.uint8]) -> State:
        size = self.spec.template_size
        assert templates.shape[1:] == (self.spec.template_slots, size, size, 3), templates.shape
        assert templates.dtype == np.uint8
        self.template_calls += 1
        middle = slice(size * 3 // 8, size * 5 // 8)
        return (templates[:, :, middle, middle].mean(axis=(2, 3)).astype(np.float32),)

    def search(self, search: NDArray[np.uint8], states: Sequence[State]) -> SearchOutput:
        spec, state = self.spec, joined(states)
        assert search.shape[1:] == (spec.search_size, spec.search_size, 3), search.shape
        assert search.dtype == np.uint8
        assert [s.shape for s in state] == [(len(search), *t.shape) for t in spec.states], state
        self.search_batches.append(len(search))
        rows = [self._search_one(image, colours) for image, colours in zip(search, state[0], strict=True)]
        scores, box_maps, embeddings = (np.stack(part) for part in zip(*rows, strict=True))
        return SearchOutput(scores, box_maps, embeddings if spec.embedding_size else None)

    def close(self) -> None:
        self.closed = True

    def _search_one(
        self, image: NDArray[np.uint8], colours: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], ...]:
        """One crop and the (T, 3) colours of its target -> score map, box map, embedding."""
        size, grid = self.spec.search_size, self.spec.grid
        score_map = np.full((grid, grid), NO_TARGET, np.float32)
        box_map = np.full((4, grid, grid), 0.5, np.float32)
        pixels = image.astype(np.float32)
        distance = np.min([np.linalg.norm(pixels - colour, axis=-1) for colour in colours], axis=0)
        count, labels, stats, centres = cv2.connectedComponentsWithStats((distance < REACH).astype(np.uint8))
        best_colour = np.zeros(3, np.float32)
        for label in range(1, count):
            left, top, width, height, area = stats[label]
            if area < LEAST_AREA_PX:
                continue
            patch = labels == label
            score = 0.98 * float(np.exp(-((np.median(distance[patch]) / 60.0) ** 2)))
            column, row = (int((c + 0.5) * grid / size) for c in centres[label])
            if score > score_map.max():
                best_colour = np.median(image[patch], axis=0).astype(np.float32)
            if score > score_map[row, column]:
                score_map[row, column] = score
                box_map[:, row, column] = (left + width / 2, top + height / 2, width, height)
                box_map[:, row, column] /= size
        return score_map, box_map, self._embedding(best_colour)

    def _embedding(self, colour: NDArray[np.float32]) -> NDArray[np.float32]:
        """The direction of a colour seen from grey, so that other colours have a low cosine."""
        embedding = np.zeros(max(3, self.spec.embedding_size), np.float32)
        embedding[:3] = colour - 127.5
        return embedding / np.linalg.norm(embedding)
