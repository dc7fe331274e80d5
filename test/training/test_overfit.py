"""Teacher and student learn one batch by heart: the whole of a method works together."""

from __future__ import annotations

from dataclasses import replace

import pytest
from overfitting import learn, mean_iou
from training_samples import SMALL, random_batch, small_student

from training.methods.eatrack import Distillation, EATrack
from training.methods.tracking import Tracking
from training.models.eatrack import EATrackStudent

STUDENT = replace(SMALL, stem="patch", head_channels=128)
TEACHER = replace(STUDENT, stage1_blocks=0, stage2_blocks=4)
WEIGHTS = {"focal": 1.0, "l1": 5.0, "giou": 2.0, "feature": 1.0, "prediction": 1.0}


@pytest.fixture(scope="module")
def taught() -> EATrackStudent:
    """A teacher that knows the batch."""
    teacher = small_student(TEACHER)
    assert mean_iou(teacher, random_batch(4)) < 0.5
    learn(Tracking(teacher, "around"), random_batch(4), WEIGHTS)
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
    learn(method, batch, WEIGHTS)
    assert mean_iou(student, batch) > 0.9
    after = {name: value.item() for name, value in method.eval()(batch, 0.0).items()}
    assert after["feature"] < before["feature"] / 2
    assert after["prediction"] < before["prediction"] / 2
