"""The measured scores of a bundle: into its manifest, and with everything else into its model card."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from distill_tracker_ros.runtime.manifest import FILE_NAME, Manifest, read_manifest, write_manifest

MEANS = {
    "success_auc": "success AUC (mean of 21 overlap thresholds)",
    "precision_20px": "precision at 20 px",
    "normalised_precision_020": "normalised precision at 0.20",
}
_KEYS = ("success_auc", "precision_20px", "norm_precision")  # of the same in an evaluation


def record_scores(bundle: Path, evaluation: Path, notes: Path | None = None) -> Path:
    """Write the scores of an evaluation into a bundle's manifest, and its model card; returns the card.

    Args:
        bundle: folder of the bundle.
        evaluation: JSON of `distill-tracker evaluate --json`, of this very model.
        notes: Markdown that goes below the numbers: what the model is good and bad at.

    Raises:
        ValueError: the evaluation is of another model, or is none.
    """
    manifest = read_manifest(bundle / FILE_NAME)
    try:
        found = json.loads(evaluation.read_text())
        if found["model"] != manifest.spec.name:
            raise ValueError(
                f"{evaluation} is of the model {found['model']!r}, not of {manifest.spec.name!r}"
            )
        scores = {
            "protocol": "one pass from the first box; frames without truth left out",
            "rate_hz": found["rate_hz"],
            **{name: round(found[key], 4) for name, key in zip(MEANS, _KEYS, strict=True)},
            "success_auc_by_sequence": {
                name: round(each["success_auc"], 4) for name, each in found["per_sequence"].items()
            },
        }
    except (KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
        raise ValueError(
            f"{evaluation} is not a result of `distill-tracker evaluate --json`: {error}"
        ) from error
    manifest = replace(manifest, scores=scores)
    write_manifest(bundle / FILE_NAME, manifest)
    card = bundle / "README.md"
    card.write_text(model_card(manifest, notes.read_text() if notes else ""))
    return card


def model_card(manifest: Manifest, notes: str) -> str:
    """Markdown from a manifest."""
    spec, scores = manifest.spec, manifest.scores
    about = {key: value for key, value in manifest.provenance.items() if key != "data"}
    lines = [
        f"# {spec.name}",
        "",
        notes.strip(),
        "",
        "## Model",
        "",
        f"Method {spec.method}; template {spec.template_slots} x {spec.template_size} px at factor "
        f"{spec.template_factor:g}, search region {spec.search_size} px at factor {spec.search_factor:g}, "
        f"score map {spec.grid} x {spec.grid}. ONNX opset {manifest.opset}.",
        "",
        "## Scores",
        "",
        f"{scores['protocol']}; {scores['rate_hz']:g} frames a second.",
        "",
        *_table(("measure", "value"), [(text, f"{scores[name]:.3f}") for name, text in MEANS.items()]),
        "",
        *_table(
            ("sequence", "success AUC"),
            [(name, f"{value:.3f}") for name, value in scores["success_auc_by_sequence"].items()],
        ),
        "",
        *_confidence(manifest),
        "## Training",
        "",
        *_table(("", ""), [(key.replace("_", " "), value) for key, value in about.items()]),
        "",
        "Data:",
        "",
        *[f"- {source}" for source in manifest.provenance.get("data", [])],
        "",
        "Largest differences of ONNX Runtime from PyTorch at export: "
        + ", ".join(f"{key} {value:g}" for key, value in manifest.parity.items() if key != "seed")
        + ".",
    ]
    return "\n".join(lines) + "\n"


def _confidence(manifest: Manifest) -> list[str]:
    """A section on what it is worth, if that was measured."""
    if (found := manifest.calibrated) is None:
        return []
    return [
        "## Confidence",
        "",
        f"The probability that the box is right (IoU > 0.5), calibrated on {found.data} ({found.frames} "
        "frames), none of them among the sequences above. Expected calibration error "
        f"{found.error_before:.3f} before, {found.error_after:.3f} after, of each video under a calibration "
        "made on the others.",
        "",
    ]


def _table(header: tuple[str, str], rows: list[tuple[str, Any]]) -> list[str]:
    return [f"| {header[0]} | {header[1]} |", "|---|---|", *[f"| {a} | {b} |" for a, b in rows]]
