"""LoReTrack's losses as pure functions of tensors: a student follows a teacher of a higher resolution.

Tokens are those of the search region, row-major, [B, G*G, D]; what is compared has the teacher's grid.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

Distance = Callable[[Tensor, Tensor], Tensor]  # student and teacher [B, N, D] -> [B, N], one a position


def resize_images(images: Tensor, size: int) -> Tensor:
    """[B, ..., C, H, W] -> [B, ..., C, size, size]: bilinear, corners not aligned, not antialiased."""
    flat = images.flatten(0, -4)
    resized = F.interpolate(flat, (size, size), mode="bilinear", align_corners=False, antialias=False)
    return resized.unflatten(0, images.shape[:-3])


def resize_tokens(tokens: Tensor, count: int) -> Tensor:
    """U of the paper: tokens of one square grid [B, n, D] -> of another, float32 [B, count, D]; as above."""
    old, new = round(tokens.shape[1] ** 0.5), round(count**0.5)
    image = tokens.float().unflatten(1, (old, old)).permute(0, 3, 1, 2)
    return resize_images(image, new).permute(0, 2, 3, 1).flatten(1, 2)


def channel_divergence(student: Tensor, teacher: Tensor, temperature: float = 4.0) -> Tensor:
    """t^2 KL(softmax(teacher / t) || softmax(student / t)) over the channels of each position.

    It is what the released code of LoReTrack minimises; [B, N, D], [B, N, D] -> [B, N]. A constant that is
    added to all channels of a position changes nothing. Between near maps it is their squared distance, each
    without its mean over the channels, divided by 2 D.
    """
    own, other = ((tokens.float() / temperature).log_softmax(2) for tokens in (student, teacher))
    return temperature**2 * F.kl_div(own, other, reduction="none", log_target=True).sum(2)


def squared_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """The squared error of the paper's text, summed over the channels; [B, N, D], [B, N, D] -> [B, N]."""
    return (student.float() - teacher.float()).square().sum(2)


def energy_mask(features: Tensor, threshold: float, rule: str = "min-max") -> Tensor:
    """Positions that matter to the teacher: M of the paper, [B, N, D] -> [B, N] of 0 and 1.

    The energy of a position is the mean square of its channels.

    Args:
        features: of the teacher, after the final norm.
        threshold: the energy from which a position is kept.
        rule: "min-max" scales the energies of an image to 0 ... 1 first, so that the threshold means the same
            for every teacher; "literal" compares them as they are.
    """
    energy = features.float().square().mean(2)
    if rule == "min-max":
        low, high = energy.aminmax(dim=1, keepdim=True)
        energy = (energy - low) / (high - low).clamp_min(1e-12)
    return (energy >= threshold).float()


def qkv_loss(student: Sequence[Tensor], teacher: Sequence[Tensor], distance: Distance) -> Tensor:
    """L_QKV: sum over Q, K and V of d(U(student), teacher), summed over positions, a mean over samples."""
    pairs = zip(student, teacher, strict=True)
    return torch.stack([distance(resize_tokens(x, y.shape[1]), y).sum(1).mean() for x, y in pairs]).sum()


def discriminative_loss(
    student: Tensor,
    teacher: Tensor,
    mask: Tensor,
    distance: Distance,
    inside: float = 0.6,
    outside: float = 0.4,
) -> Tensor:
    """L_Disc: alpha d(M U(x), M y) + beta d((1 - M) U(x), (1 - M) y) of features [B, n, D] and [B, N, D].

    A position that is zero in both maps is no distance apart, so each position simply weighs alpha or beta.

    Args:
        mask: [B, N], M.
        inside, outside: alpha and beta.
    """
    weight = inside * mask + outside * (1 - mask)
    return (weight * distance(resize_tokens(student, teacher.shape[1]), teacher)).sum(1).mean()
