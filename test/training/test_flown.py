"""Every network is exported and flown by the same code: the drone's Session on its bundle."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from synthetic import moving_square
from training_samples import SMALL

from distill_tracker_ros.core.config import UPDATE_RULES, TrackerConfig
from distill_tracker_ros.core.frame import ArrayFrame
from distill_tracker_ros.core.session import Session
from distill_tracker_ros.runtime.load import load_engine
from distill_tracker_ros.runtime.manifest import FILE_NAME, read_manifest, write_manifest
from distill_tracker_ros.runtime.timing import TimedEngine
from training.checkpoint import save_student
from training.export import export_bundle
from training.models.asymtrack import AsymTrackConfig
from training.models.mixformer import MixFormerConfig
from training.models.network import NetworkConfig

FRAMES, INTERVAL = 24, 10
SIZES = {"search_size": 64, "template_size": 32}
MIXFORMER = MixFormerConfig(**SIZES, stem="conv", width=48, heads=3, blocks=2, bins=16)
NETWORKS = {
    "eatrack": SMALL,
    "loretrack": replace(SMALL, stage1_blocks=0, template_slots=1),  # CompressTracker's too
    "mixformer": MIXFORMER,
    "mixvit": replace(MIXFORMER, head="corner", head_channels=16),
    "asymtrack": AsymTrackConfig(**SIZES, stage_blocks=(1, 1, 1), head_channels=16),
}


def exported(config: NetworkConfig, method: str, folder: Path) -> Path:
    """A bundle of random weights whose update rule, if it has one, takes every view."""
    torch.manual_seed(0)
    about = {"method": method, "recipe": "test"}
    bundle = export_bundle(save_student(folder, config.build(), config, about), method, folder / method)
    manifest = read_manifest(bundle / FILE_NAME)
    numbers = {"threshold": 0.0, "interval_frames": INTERVAL}
    rule = UPDATE_RULES[config.update_rule]
    update = rule() if rule.rule == "none" else rule(**numbers)
    spec = replace(manifest.spec, update=update, lost_threshold=0.0)
    write_manifest(bundle / FILE_NAME, replace(manifest, spec=spec))
    return bundle


@pytest.mark.parametrize("method", NETWORKS)
def test_the_template_is_encoded_when_set_and_when_refreshed(method: str, tmp_path: Path) -> None:
    """One search a frame for both targets; the template graph twice at the start and at refreshes alone."""
    config = NETWORKS[method]
    bundle = exported(config, method, tmp_path)
    assert read_manifest(bundle / FILE_NAME).spec.method == method
    engine = TimedEngine(load_engine(bundle))
    session = Session(engine, TrackerConfig())
    assert engine.template_calls == 0
    for number, (rgb, box) in enumerate(moving_square(FRAMES)):
        frame = ArrayFrame(rgb)
        if number == 0:
            session.set_target(frame, box, 0, id="a")
            session.set_target(frame, np.array([40.0, 40.0, 30.0, 20.0]), 0, id="b")
            assert engine.template_calls == 2
        else:
            tracks = session.update(frame, number * 40_000_000)
            assert all(np.isfinite(track.box_xywh).all() for track in tracks.values())
    most = 2 * ((FRAMES - 1) // INTERVAL)
    refreshes = engine.template_calls - 2
    assert refreshes == 0 if config.update_rule == "none" else 0 < refreshes <= most
    session.clear_target()
    session.update(frame, FRAMES * 40_000_000)
    assert engine.template_calls - 2 == refreshes
