"""All numbers of a run, ready for JSON. docs/metrics.md says what each of them is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from . import absence, calibration, got10k, long_term, vot
from .metrics import Curves, Policy, mean, score
from .protocols import by_parent
from .runs import Run, TrackedSequence
from .statistics import mean_interval, paired

Groups = Mapping[str, Sequence[TrackedSequence]]  # name of a whole sequence -> what was tracked of it

_SCORES = ("success_auc", "precision_20px", "norm_precision", "norm_precision_auc", "op50", "op75")


def summary(run: Run, policy: Policy = "clean") -> dict[str, Any]:
    """The scores of a run: of the whole, by attribute, by sequence; its speed; what its confidence is worth.

    Each sequence has equal weight; parts of one (protocols "vot" and "tre") are averaged first. What
    does not apply is None. A sequence that does not begin with a true box is `excluded`, with the reason.

    Raises:
        ValueError: no sequence can be scored, or a prediction is no box.
    """
    groups = {name: [p for p in parts if _has_start(p)] for name, parts in by_parent(run.sequences).items()}
    excluded = {
        name: "no true box in its first frame" if any(p.visible.any() for p in parts) else "no true box"
        for name, parts in by_parent(run.sequences).items()
        if not groups[name]
    }
    groups = {name: parts for name, parts in groups.items() if parts}
    curves = {name: _curves(parts, policy) for name, parts in groups.items()}
    compatible = mean([_curves(parts, "compat-default") for parts in groups.values()])
    tracked = [part for parts in groups.values() for part in parts]
    protocol = run.conditions.get("protocol", "one-pass")
    each = {name: {**_scores(c), **_speed(groups[name])} for name, c in curves.items()}
    return {
        "label": run.label,
        "policy": policy,
        "protocol": protocol,
        "sequences": len(groups),
        **_scores(mean(list(curves.values()))),
        **{f"{key}_interval": list(mean_interval([s[key] for s in each.values()])) for key in _SCORES},
        **_speed(tracked),
        "curves": _curve_values(mean(list(curves.values()))),
        "compat": {"policy": "compat-default", **_scores(compatible)},
        "attributes": _by_attribute(groups, curves),
        "got10k": _got10k(tracked),
        "long_term": _long_term(tracked),
        "absence": _absence(tracked),
        "vot": _vot(groups) if protocol == "vot" else None,
        "calibration": _calibration(tracked),
        "per_sequence": {
            name: {**scores, "attributes": list(groups[name][0].attributes), "broken": _broken(groups[name])}
            for name, scores in each.items()
        },
        "excluded": excluded,
    }


def comparison(run: Run, baseline: Run, policy: Policy = "clean") -> dict[str, Any]:
    """How much better one run is than another, on the sequences that both have.

    Raises:
        ValueError: there is no such sequence, or one of the runs cannot be scored.
    """
    ours, theirs = summary(run, policy)["per_sequence"], summary(baseline, policy)["per_sequence"]
    common = [name for name in ours if name in theirs]
    if not common:
        raise ValueError(f"{run.label} and {baseline.label} have no sequence in common")
    return {
        "label": run.label,
        "baseline": baseline.label,
        "policy": policy,
        "sequences": len(common),
        "left_out": sorted(set(ours) ^ set(theirs)),
        "scores": {
            key: _difference([ours[name][key] for name in common], [theirs[name][key] for name in common])
            for key in _SCORES
        },
        "per_sequence": {
            name: {key: ours[name][key] - theirs[name][key] for key in _SCORES} for name in common
        },
    }


def _has_start(part: TrackedSequence) -> bool:
    return bool(part.visible[:1].any())


def _curves(parts: Sequence[TrackedSequence], policy: Policy) -> Curves:
    return mean([_part_curves(part, policy) for part in parts])


def _part_curves(part: TrackedSequence, policy: Policy) -> Curves:
    try:
        return score(part.boxes_xywh, part.truth_xywh, policy, part.visible)
    except ValueError as error:
        raise ValueError(f"{part.name}: {error}") from error


def _scores(curves: Curves) -> dict[str, Any]:
    return {
        "frames": curves.frames,
        "success_auc": curves.success_auc,
        "precision_20px": curves.precision_20px,
        "norm_precision": curves.normalised_precision_020,
        "norm_precision_auc": curves.normalised_precision_auc,
        "op50": curves.op50,
        "op75": curves.op75,
    }


def _curve_values(curves: Curves) -> dict[str, list[float]]:
    return {
        "success": curves.success.tolist(),
        "precision": curves.precision.tolist(),
        "norm_precision": curves.normalised_precision.tolist(),
    }


def _speed(tracked: Sequence[TrackedSequence]) -> dict[str, float | None]:
    """Of all frames but the first of each sequence; None where there is none, or its time is not known."""

    def steps(name: str) -> Any:
        times = np.concatenate([getattr(t.times, name)[1:] for t in tracked])
        return times[np.isfinite(times)]

    total = steps("step_ms")
    seconds = total.sum() / 1000
    return {
        "fps": float(len(total) / seconds) if seconds > 0 else None,
        "latency_ms_median": _quantile(total, 0.5),
        "latency_ms_p95": _quantile(total, 0.95),
        **{f"{name}_median": _quantile(steps(name), 0.5) for name in ("before_ms", "engine_ms", "after_ms")},
    }


def _difference(ours: Sequence[float], theirs: Sequence[float]) -> dict[str, Any]:
    found = paired(ours, theirs)
    return {
        "mean": float(np.mean(ours)),
        "baseline": float(np.mean(theirs)),
        "difference": found.mean,
        "interval": list(found.interval),
        "verdict": found.verdict,
    }


def _quantile(values: Any, share: float) -> float | None:
    return float(np.quantile(values, share)) if len(values) else None


def _by_attribute(groups: Groups, curves: Mapping[str, Curves]) -> dict[str, dict[str, Any]]:
    """Attribute -> means over the sequences that have it."""
    names: dict[str, list[str]] = {}
    for name, parts in groups.items():
        for attribute in parts[0].attributes:
            names.setdefault(attribute, []).append(name)
    return {
        attribute: {"sequences": len(having), **_scores(mean([curves[name] for name in having]))}
        for attribute, having in sorted(names.items())
    }


def _got10k(tracked: Sequence[TrackedSequence]) -> dict[str, Any] | None:
    found = got10k.score(tracked)
    if found is None:
        return None
    return {
        "ao": found.average_overlap,
        "sr50": found.sr50,
        "sr75": found.sr75,
        "frames": found.frames,
        "success_curve": found.success.tolist(),
    }


def _long_term(tracked: Sequence[TrackedSequence]) -> dict[str, Any] | None:
    found = long_term.score(tracked)
    if found is None:
        return None
    best = found.best
    return {
        "by_state": _decision(found.by_state),
        "best": None
        if best is None
        else {"threshold": float(found.thresholds[best]), **_decision(found.by_confidence[best])},
        "curve": {
            "threshold": found.thresholds.tolist(),
            "precision": [d.precision for d in found.by_confidence],
            "recall": [d.recall for d in found.by_confidence],
        },
    }


def _absence(tracked: Sequence[TrackedSequence]) -> dict[str, Any]:
    found = absence.score(tracked)
    return {
        "absences": len(found.each),
        "said_lost": len(found.lost_after_s),
        "lost_after_s_median": _quantile(found.lost_after_s, 0.5),
        "lost_after_s_longest": max(found.lost_after_s, default=None),
        "claimed_share": found.claimed_share,
        "returns": found.returns,
        "found_again": len(found.found_after_s),
        "found_after_s_median": _quantile(found.found_after_s, 0.5),
        "found_after_s_longest": max(found.found_after_s, default=None),
        "false_losses": found.false_losses,
        "each": [asdict(each) for each in found.each],
    }


def _decision(decision: long_term.Decision) -> dict[str, float]:
    return {"precision": decision.precision, "recall": decision.recall, "f": decision.f}


def _vot(groups: Groups) -> dict[str, Any]:
    found = vot.score(groups)
    return {
        "accuracy": found.accuracy,
        "robustness": found.robustness,
        "eao": found.eao,
        "eao_range": list(found.eao_range) if found.eao_range else None,
        "eao_curve": found.eao_curve.tolist(),
    }


def _calibration(tracked: Sequence[TrackedSequence]) -> dict[str, Any] | None:
    table = calibration.score(tracked)
    if table is None:
        return None
    rows = zip(table.frames, table.confidence, table.right, table.overlap, strict=True)
    return {
        "expected_error": table.expected_error,
        "bins": [
            {
                "from": float(low),
                "to": float(high),
                "frames": int(frames),
                "confidence": float(said) if frames else None,
                "right": float(right) if frames else None,
                "overlap": float(overlap) if frames else None,
            }
            for low, high, (frames, said, right, overlap) in zip(
                calibration.BIN_EDGES, calibration.BIN_EDGES[1:], rows, strict=False
            )
        ],
    }


def _broken(parts: Sequence[TrackedSequence]) -> str:
    return "; ".join(part.broken for part in parts if part.broken)
