"""Model bundles: manifests of wrong values and wrong text, and graphs that are torn or altered."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from fuzzing import is_sentence
from hypothesis import strategies as st
from mutations import changed_tree, mutated
from tiny_bundle import write_tiny_bundle

from distill_tracker_ros.runtime.load import load
from distill_tracker_ros.runtime.manifest import FILE_NAME, BundleError, Graph, read_manifest, write_manifest
from distill_tracker_ros.runtime.onnx_engine import OnnxOptions
from distill_tracker_ros.runtime.tensorrt.builder import Built
from distill_tracker_ros.runtime.tensorrt.plans import Key, Plan, Plans

BOMB = "\n".join(
    ["a0: &a0 [x]", *(f"a{n}: &a{n} [{', '.join(9 * [f'*a{n - 1}'])}]" for n in range(1, 12)), "name: *a11\n"]
)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_bundle(tmp_path_factory.mktemp("models") / "tiny")


def odd_yaml() -> st.SearchStrategy[bytes]:
    """What YAML has besides plain values."""
    lines = st.sampled_from(
        [
            BOMB,
            "a: " + "[" * 3000,
            "a: " + "{b: " * 400,
            "a: !!python/name:os.system x",
            "a: !!int ''",
            "a: 1:99:99:99",
            "a: 0x" + "f" * 9000,
            "a: 2000-13-45",
            "? [a, b]\n: c",
            "<<: {name: x}",
            "a: !!set {b, c}",
            "a: !!binary '===='",
            "--- \n...\n---\nb: c",
            "%YAML 9.9\n---\na: b",
            "a: \u0085b\u2028c",
            "'a': " + "'" + "x" * 10_000 + "'",
        ]
    )
    return st.lists(lines | st.text(max_size=40), min_size=1, max_size=4).map(_joined)


def _joined(lines: list[str]) -> bytes:
    return "\n".join(lines).encode()


def test_manifests(fuzz: Callable[..., None], bundle: Path, tmp_path: Path) -> None:
    text = (bundle / FILE_NAME).read_bytes()
    structured = changed_tree(yaml.safe_load(text)).map(
        lambda tree: yaml.dump(tree, sort_keys=False).encode()
    )
    both = st.builds(
        lambda odd, where: text[:where] + odd + text[where:], odd_yaml(), st.integers(0, len(text))
    )
    cases = structured | structured | mutated([text]) | mutated([text]) | odd_yaml() | both
    file = tmp_path / FILE_NAME

    def read(content: bytes) -> None:
        file.write_bytes(content)
        manifest = read_manifest(file)
        for name in (manifest.template.file, manifest.search.file, manifest.spec.name):
            assert (tmp_path / name).parent == tmp_path and name not in (".", "..")

    fuzz("manifests", "manifests of model bundles", cases, read, BundleError, share=0.08)


def test_graphs(fuzz: Callable[..., None], bundle: Path, tmp_path: Path) -> None:
    """Changed graphs with their digests put right, as somebody would who means harm."""
    graphs = {name: (bundle / f"{name}.onnx").read_bytes() for name in ("template", "search")}
    folder = write_tiny_bundle(tmp_path / "tiny")
    manifest = read_manifest(folder / FILE_NAME)
    whole = st.just(None)
    cases = st.tuples(st.sampled_from(sorted(graphs)), st.booleans()).flatmap(
        lambda pair: st.tuples(st.just(pair), mutated([graphs[pair[0]]], most=2) | whole)
    )
    options = OnnxOptions(intra_op_threads=1)

    def open_bundle(case: tuple[tuple[str, bool], bytes | None]) -> None:
        (changed, digest), content = case
        for name, original in graphs.items():
            new = original if content is None or name != changed else content
            (folder / f"{name}.onnx").write_bytes(new)
        entry = {changed: Graph.of_file(folder / f"{changed}.onnx")} if digest else {}
        write_manifest(folder / FILE_NAME, replace(manifest, **entry))
        load(folder, "onnxruntime", options).engine.close()

    fuzz(
        "graphs",
        "graphs of model bundles (ONNX)",
        cases,
        open_bundle,
        BundleError,
        share=0.006,
        most_mb=200.0,
    )


def test_sidecars_of_plans(fuzz: Callable[..., None], tmp_path: Path) -> None:
    """A plan is used or built anew: nothing is ever raised."""

    plans = Plans(tmp_path / "plans", limit_mb=10)
    key = Key("tiny-search", {"graph": "ab", "tensorrt": "none 1", "device": [[8, 7]], "max_batch": 4})
    plans.store(key, Built(b"plan" * 20, b"timings"), {"seconds": 1.0, "box_px": 0.0, "score": 0.0})
    sidecar = tmp_path / "plans" / f"{key.stem}.json"
    text, content = sidecar.read_bytes(), b"plan" * 20
    other = Key(key.graph, {**key.parts, "max_batch": 8})
    structured = changed_tree(json.loads(text)).map(lambda tree: json.dumps(tree, default=str).encode())
    deep = st.sampled_from(
        [b"[" * 100_000, b'{"key":' * 50_000, b'{"size": 1' + b"0" * 5000 + b"}", b"\xff\xfe"]
    )
    cases = structured | mutated([text]) | st.just(text) | deep

    def look_up(new: bytes) -> None:
        sidecar.write_bytes(new)
        found, miss = plans.look_up(key), plans.look_up(other)
        assert not isinstance(miss, Plan) and is_sentence(miss.reason)
        plans.entries()
        if not isinstance(found, Plan):
            raise BundleError(found.reason)  # to be counted as refused
        assert found.plan == content

    fuzz("sidecars", "sidecars of TensorRT plans", cases, look_up, BundleError, share=0.05)
