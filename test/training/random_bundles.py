"""A network of every kind, with random weights, as a bundle: what the drone is given by each method."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from training_samples import SMALL

from distill_tracker_ros.core.config import UPDATE_RULES
from distill_tracker_ros.runtime.manifest import FILE_NAME, read_manifest, write_manifest
from training.checkpoint import save_student
from training.export import export_bundle
from training.models.asymtrack import AsymTrackConfig
from training.models.mixformer import MixFormerConfig

INTERVAL = 10  # frames between updates of the template
SIZES = {"search_size": 64, "template_size": 32}
MIXFORMER = MixFormerConfig(**SIZES, stem="conv", width=48, heads=3, blocks=2, bins=16)
NETWORKS = {
    "eatrack": SMALL,
    "loretrack": replace(SMALL, stage1_blocks=0, template_slots=1),  # CompressTracker's too
    "mixformer": MIXFORMER,
    "mixvit": replace(MIXFORMER, head="corner", head_channels=16),
    "asymtrack": AsymTrackConfig(**SIZES, stage_blocks=(1, 1, 1), head_channels=16),
}


def write_random_bundle(method: str, folder: Path) -> Path:
    """Its update rule, if it has one, takes every view; no target is ever lost."""
    torch.manual_seed(0)
    config = NETWORKS[method]
    about = {"method": method, "recipe": "test"}
    bundle = export_bundle(save_student(folder, config.build(), config, about), method, folder / method)
    manifest = read_manifest(bundle / FILE_NAME)
    rule = UPDATE_RULES[config.update_rule]
    update = rule() if rule.rule == "none" else rule(threshold=0.0, interval_frames=INTERVAL)
    spec = replace(manifest.spec, update=update, lost_threshold=0.0)
    write_manifest(bundle / FILE_NAME, replace(manifest, spec=spec))
    return bundle
