"""Teacher and student learn one batch by heart: the whole of a method works together."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn
from torchvision.ops import box_convert, box_iou
from training_samples import SMALL, random_batch, small_student

from training.data.sampler import Batch
from training.losses import boxes_at_peak
from training.methods.eatrack import Distillation, EATrack
from training.methods.tracking import Tracking
from training.models.eatrack import EATrackStudent
from training.models.layers import normalise

STUDENT = replace(SMALL, stem="patch", head_channels=128)
TEACHER = replace(STUDENT, stage1_blocks=0, stage2_blocks=4)
WEIGHTS = {"focal": 1.0, "l1": 5.0, "giou": 2.0, "feature": 1.0, "prediction": 1.0}
STEPS, LEARNING_RATE = 120, 3e-3


def learn(method: nn.Module, batch: Batch) -> None:
    optimiser = torch.optim.AdamW(method.parameters())
    method.train()
    for step in range(STEPS):
        optimiser.param_groups[0]["lr"] = LEARNING_RATE * min(1.0, 2 * (1 - step / STEPS))
        losses = method(batch, step / STEPS)
        optimiser.zero_grad()
        torch.stack([WEIGHTS[name] * value for name, value in losses.items()]).sum().backward()
        nn.utils.clip_grad_norm_(method.parameters(), 1.0)
        optimiser.step()


@torch.no_grad()
def mean_iou(network: EATrackStudent, batch: Batch) -> float:
    maps = network.eval()(normalise(batch.templates), normalise(batch.search)).maps
    found, truth = (box_convert(b, "cxcywh", "xyxy") for b in (boxes_at_peak(maps), batch.box))
    return box_iou(found, truth).diagonal().mean().item()


@pytest.fixture(scope="module")
def taught() -> EATrackStudent:
    """A teacher that knows the batch."""
    teacher = small_student(TEACHER)
    assert mean_iou(teacher, random_batch(4)) < 0.5
    learn(Tracking(teacher, "around"), random_batch(4))
    return teacher.eval()


def test_a_teacher_learns_one_batch_by_heart(taught: EATrackStudent) -> None:
    """Mean IoU above 0.9 on samples of noise, with the tracking losses alone."""
    assert mean_iou(taught, random_batch(4)) > 0.9


def test_a_student_learns_one_batch_by_heart_from_a_fixed_teacher(taught: EATrackStudent) -> None:
    """Mean IoU above 0.9 with all five losses, and both branches bring the student nearer to its teacher."""
    student, batch = small_student(STUDENT), random_batch(4)
    method = EATrack(student, taught, Distillation(), "around")
    before = {name: value.item() for name, value in method.eval()(batch, 0.0).items()}
    assert mean_iou(student, batch) < 0.5
    learn(method, batch)
    assert mean_iou(student, batch) > 0.9
    after = {name: value.item() for name, value in method.eval()(batch, 0.0).items()}
    assert after["feature"] < before["feature"] / 2
    assert after["prediction"] < before["prediction"] / 2
