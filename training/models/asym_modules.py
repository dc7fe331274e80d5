"""The two modules of AsymTrack (AAAI 2025): template modulation (ETM) and object perception (OPE).

Maps are [B, H, W, C]. The template is seen through a few prototypes: sums of its map, weighted over the
cells by learned attention.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .efficient_mod import convolve

TAPS = 3  # of a dynamic depth kernel
BRANCHES = 3  # of a difference convolution
PROTOTYPE_CHANNELS = 32  # channels of a map for one prototype
KERNEL_SOURCES = ("template", "search")
SMALLEST_SCALE = 1e-4


def prototype_count(width: int) -> int:
    """N of a map of `width` channels."""
    return width // PROTOTYPE_CHANNELS


def prototypes(weights: Tensor, features: Tensor) -> Tensor:
    """P[n, c] = sum_k weights[k, n] features[k, c] over the cells: [B, HW, N], [B, HW, C] -> [B, N, C]."""
    return weights.transpose(1, 2) @ features


def dynamic_convolution(values: Tensor, kernels: Tensor) -> Tensor:
    """A separable convolution along the channels, with kernels of each sample (AsymTrack, ETM).

    As shifted products and one matrix product, since runtimes have no convolution with computed kernels.

    Args:
        values: [B, N, C].
        kernels: [B, N, 3 + N]: row n holds the depth kernel of values n (zeros beyond the channels, then
            ReLU) and the weights with which output n mixes the rows.

    Returns:
        [B, N, C].
    """
    depth, point = kernels.split([TAPS, values.shape[1]], dim=2)
    beyond = torch.zeros_like(values[..., : TAPS // 2])
    padded = torch.cat([beyond, values, beyond], dim=2)  # a pad does not export to ONNX opset 17
    windows = [padded[..., tap : tap + values.shape[2]] for tap in range(TAPS)]
    moved = torch.stack([depth[..., tap : tap + 1] * window for tap, window in enumerate(windows)]).sum(0)
    return point @ moved.relu()


def unit_scale(x: Tensor) -> Tensor:
    """[B, N, M] divided by the mean magnitude of each sample.

    The prototypes are sums over a map, and the dynamic convolution is their cubic form: half precision would
    overflow. The norm behind it forgets the scale in any case.
    """
    mean = (x.abs() / x[0].numel()).sum((1, 2), keepdim=True)  # a mean does not export to ONNX opset 17
    return x / mean.clamp_min(SMALLEST_SCALE)


class TemplateModulation(nn.Module):
    """ETM: prototypes of search and template meet in a dynamic convolution, and come back to the search map.

    Args:
        kernels_from: whose prototypes make the kernels, of "template" and "search"; those of the other side
            are what the kernels run over.
        shared_weights: one attention over the cells for both maps.
        detach_template: no gradient through the template's prototypes.
    """

    def __init__(
        self,
        width: int,
        kernels_from: str = "template",
        shared_weights: bool = False,
        detach_template: bool = False,
    ) -> None:
        super().__init__()
        self.kernels_from, self.detach_template = kernels_from, detach_template
        count = prototype_count(width)
        self.search_weights = nn.Linear(width, count)
        self.template_weights = self.search_weights if shared_weights else nn.Linear(width, count)
        if detach_template and not shared_weights:
            self.template_weights.requires_grad_(False)  # several processes wait for every gradient
        self.kernels = nn.Linear(width, TAPS + count)
        self.mixed_norm = nn.LayerNorm(width)
        self.importance = nn.Linear(width, 1)
        self.norm = nn.LayerNorm(width)

    def encode_template(self, template: Tensor) -> Tensor:
        """Template map -> state: kernels [B, N, 3 + N], or prototypes [B, N, C] for kernels of the search."""
        cells = template.flatten(1, 2)
        found = prototypes(self.template_weights(cells), cells)
        if self.detach_template:
            found = found.detach()
        return unit_scale(self.kernels(found) if self.kernels_from == "template" else found)

    def forward(self, search: Tensor, state: Tensor) -> Tensor:
        """Search map and the state of its template -> a map of the same shape."""
        cells = search.flatten(1, 2)
        weights = self.search_weights(cells)
        found = prototypes(weights, cells)
        if self.kernels_from == "template":
            mixed = dynamic_convolution(unit_scale(found), state)
        else:
            mixed = dynamic_convolution(state, unit_scale(self.kernels(found)))
        mixed = self.mixed_norm(mixed)
        gate = (self.importance(mixed).transpose(1, 2) @ mixed).sigmoid()
        modulated = self.norm(gate * (weights @ mixed)).relu()
        return search + modulated.unflatten(1, search.shape[1:3])


class ObjectPerception(nn.Module):
    """OPE: x + scale * ReLU(LN(difference convolution of x)); the scale starts at 0, so it starts as x."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv: nn.Module = DifferenceConvolution(width)
        self.norm = nn.LayerNorm(width)
        self.scale = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.scale * self.norm(convolve(self.conv, x)).relu()

    def fold(self) -> None:
        """Leave one plain convolution for the branches, which gives the same."""
        if isinstance(self.conv, DifferenceConvolution):
            self.conv = self.conv.folded()


class DifferenceConvolution(nn.Module):
    """sum_i conv3x3(x; W_i) - sigmoid(theta) conv1x1(x; tap sum of W_i): less of what all taps see alike.

    All terms are linear in x, so they are one convolution with one kernel, in training too: the branches
    (`branches[i].weight` = W_i) meet in the kernel instead of in the map.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(_convolution(width) for _ in range(BRANCHES))
        self.theta = nn.Parameter(torch.zeros(1))

    def kernel(self) -> Tensor:
        """[C, C, 3, 3]."""
        total = torch.stack([branch.weight for branch in self.branches]).sum(0)
        return total - F.pad(self.theta.sigmoid() * total.sum((2, 3), keepdim=True), (1, 1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C, H, W]."""
        return F.conv2d(x, self.kernel(), padding=1)

    def folded(self) -> nn.Conv2d:
        conv = _convolution(self.branches[0].in_channels)
        conv.weight = nn.Parameter(self.kernel().detach())
        return conv


def _convolution(width: int) -> nn.Conv2d:
    return nn.Conv2d(width, width, 3, padding=1, bias=False)
