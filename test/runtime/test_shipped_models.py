"""The bundles in models/: each runs, says what it is, and all together stay small."""

from __future__ import annotations

from pathlib import Path

import pytest

from distill_tracker_ros.runtime.load import ON_CPU, ON_GPU, load_engine
from distill_tracker_ros.runtime.manifest import FILE_NAME, read_manifest

MODELS = Path(__file__).parents[2] / "models"
BUNDLES = sorted(path.parent for path in MODELS.glob(f"*/{FILE_NAME}"))
MOST_BYTES = 30e6


def test_the_default_models_are_there() -> None:
    assert {ON_CPU, ON_GPU} <= {bundle.name for bundle in BUNDLES}


def test_all_together_stay_small() -> None:
    assert sum(file.stat().st_size for bundle in BUNDLES for file in bundle.iterdir()) <= MOST_BYTES


@pytest.mark.parametrize("bundle", BUNDLES, ids=lambda bundle: bundle.name)
def test_a_bundle_runs_and_has_a_card(bundle: Path) -> None:
    engine = load_engine(bundle)
    assert engine.spec.name == bundle.name
    engine.close()
    manifest, card = read_manifest(bundle / FILE_NAME), (bundle / "README.md").read_text()
    assert card.startswith(f"# {bundle.name}\n")
    assert manifest.provenance["data"] and all(source in card for source in manifest.provenance["data"])
    assert manifest.scores["success_auc_by_sequence"]
    assert (
        manifest.calibrated is not None and manifest.calibrated.error_after < manifest.calibrated.error_before
    )
