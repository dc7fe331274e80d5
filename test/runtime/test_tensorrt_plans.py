"""The folder of plans: used again only if all is as it was, whole or not at all, never above its limit."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import re
import time
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from distill_tracker_ros.runtime.tensorrt import plans
from distill_tracker_ros.runtime.tensorrt.builder import BuildCancelled, Built
from distill_tracker_ros.runtime.tensorrt.cuda import Device
from distill_tracker_ros.runtime.tensorrt.options import TensorRtOptions
from distill_tracker_ros.runtime.tensorrt.plans import Key, Miss, Plan, Plans

DEVICE = Device("Orin", (8, 7), 8, 15_000, True, 12060, 12060)
BUILT = Built(b"a plan " * 100, b"timings")


def tensorrt(number: str = "10.3.0", name: str = "tensorrt") -> ModuleType:
    module = ModuleType(name)
    module.__version__ = number  # type: ignore[attr-defined]
    return module


def key(
    graph: bytes = b"graph",
    max_batch: int = 4,
    options: TensorRtOptions | None = None,
    trt: ModuleType | None = None,
    device: Any = DEVICE,
    name: str = "search",
) -> Key:
    return plans.key(name, graph, max_batch, options or TensorRtOptions(), trt or tensorrt(), device)


@pytest.fixture
def kept(tmp_path: Path) -> Plans:
    return Plans(tmp_path / "plans", 100)


def missed(found: Plan | Miss) -> str:
    assert isinstance(found, Miss)
    return found.reason


def test_what_was_stored_is_found(kept: Plans) -> None:
    kept.store(key(), BUILT, {"seconds": 3.5})
    assert kept.look_up(key()) == Plan(BUILT.plan, {"seconds": 3.5})
    assert kept.timing_cache(key()) == b"timings"
    names = sorted(file.name for file in kept.folder.iterdir())
    assert [name.rpartition(".")[2] for name in names] == ["json", "plan", "bin"]
    assert kept.folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    ("other", "part"),
    [
        (key(graph=b"graph2"), None),
        (key(max_batch=5), "max_batch is 4 there and 5 here"),
        (key(options=TensorRtOptions(precision="float16")), "precision is model there and float16 here"),
        (key(options=TensorRtOptions(optimisation_level=2)), "optimisation_level is 3 there and 2 here"),
        (key(options=TensorRtOptions(workspace_mb=99)), "workspace_mb is 1024 there and 99 here"),
        (key(trt=tensorrt("10.13.0")), r"tensorrt is tensorrt 10\.3\.0 there and tensorrt 10\.13\.0 here"),
        (key(trt=tensorrt(name="tensorrt_rtx")), "there and tensorrt_rtx 10"),
        *(
            (key(device=replace(DEVICE, **{name: value})), "device is .*Orin.* there and .* here")
            for name, value in {
                "name": "Xavier",
                "compute_capability": (8, 6),
                "multiprocessors": 16,
                "memory_mb": 7000,
                "integrated": False,
                "driver": 12070,
                "runtime": 12070,
            }.items()
        ),
        (key(device=((8, 6), (8, 9))), "device is .* there and .*8, 6.* here"),
    ],
)
def test_every_part_of_the_key_counts(kept: Plans, other: Key, part: str | None) -> None:
    assert other.stem != key().stem
    kept.store(key(), BUILT, {})
    reason = missed(kept.look_up(other))
    assert reason.startswith("no plan of it in" if part is None else "none of the plans of it in")
    assert part is None or re.search(part, reason)


def test_a_new_format_of_ours_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    before = key()
    monkeypatch.setattr(plans, "FORMAT", plans.FORMAT + 1)
    assert key().stem != before.stem


@pytest.mark.parametrize(
    "options",
    [
        TensorRtOptions(cache_folder="/elsewhere"),
        TensorRtOptions(cache_limit_mb=7),
        TensorRtOptions(cuda_graphs=False),
        TensorRtOptions(device=1),
    ],
)
def test_what_does_not_change_a_plan_does_not_change_its_key(options: TensorRtOptions) -> None:
    assert key(options=options) == key()


def test_the_key_is_the_same_in_every_process() -> None:
    assert key().stem == "search-8431105f2e40aa17"


def test_one_gpu_has_one_timing_cache_for_all_graphs() -> None:
    assert key().timings == key(graph=b"other", max_batch=1, name="template").timings
    assert key().timings != key(trt=tensorrt("10.4.0")).timings
    assert key().timings != key(device=replace(DEVICE, name="Xavier")).timings


def spoil(kept: Plans, suffix: str, content: bytes) -> None:
    (kept.folder / f"{key().stem}{suffix}").write_bytes(content)


def other_sidecar(kept: Plans, **changes: Any) -> bytes:
    about = json.loads((kept.folder / f"{key().stem}.json").read_text())
    return json.dumps(about | changes).encode()


def test_a_difference_is_told_in_a_sentence(kept: Plans) -> None:
    """Whatever a sidecar holds."""
    kept.store(key(), BUILT, {})
    spoil(kept, ".json", other_sidecar(kept, key={**key().parts, "max_batch": "x\n" * 10_000}))
    found = kept.look_up(key())
    assert isinstance(found, Miss) and len(found.reason) < 500 and "\n" not in found.reason


@pytest.mark.parametrize(
    ("suffix", "content", "reason"),
    [
        (".plan", b"", "has 0 bytes, but 700 were written"),
        (".plan", BUILT.plan[:-1], "has 699 bytes, but 700 were written"),
        (".plan", BUILT.plan[:-1] + b"!", "was changed: its sha256 is not the one that was written"),
        (".json", b"", "is damaged"),
        (".json", b'{"key": {', "is damaged"),
        (".json", b"[1, 2]", "is damaged"),
        (".json", b"\xff\xfe", "is damaged"),
        (".json", b'{"key": {}}', "is damaged"),
        (".json", b"[" * 100_000, "is damaged"),
    ],
)
def test_a_damaged_file_is_not_used_and_is_replaced(
    kept: Plans, suffix: str, content: bytes, reason: str
) -> None:
    kept.store(key(), BUILT, {})
    spoil(kept, suffix, content)
    assert reason in missed(kept.look_up(key()))
    kept.store(key(), BUILT, {})
    assert isinstance(kept.look_up(key()), Plan)


def test_a_plan_of_another_key_under_this_name_is_not_used(kept: Plans) -> None:
    kept.store(key(), BUILT, {})
    spoil(kept, ".json", other_sidecar(kept, key=key(trt=tensorrt("8.6.1")).parts))
    assert "is another plan: tensorrt is tensorrt 8.6.1 there" in missed(kept.look_up(key()))


@pytest.mark.parametrize("suffix", [".plan", ".json"])
def test_half_of_a_pair_is_no_plan(kept: Plans, suffix: str) -> None:
    kept.store(key(), BUILT, {})
    (kept.folder / f"{key().stem}{suffix}").unlink()
    assert isinstance(kept.look_up(key()), Miss)


def test_a_folder_that_anybody_may_write_into_is_not_trusted(kept: Plans) -> None:
    kept.store(key(), BUILT, {})
    kept.folder.chmod(0o777)
    assert "anybody may write into" in missed(kept.look_up(key()))


def test_a_writer_that_dies_leaves_no_plan(kept: Plans, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whenever that happens, the old plan is there whole, or none is."""
    kept.store(key(), BUILT, {})
    real, newer = os.replace, Built(b"newer", b"")
    for survived in range(3):
        calls = 0

        def dying(source: Path, target: Path, survived: int = survived) -> None:
            nonlocal calls
            if calls == survived:
                raise KeyboardInterrupt
            calls += 1
            real(source, target)

        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(os, "replace", dying)
            kept.store(key(), Built(b"newer", b"timings"), {})
        found = kept.look_up(key())
        assert isinstance(found, Miss) or found.plan == newer.plan
        assert not list(kept.folder.glob("*.part"))
    assert isinstance(found, Plan)  # the timing cache alone was lost


def test_what_a_killed_program_left_aside_is_removed(kept: Plans) -> None:
    kept.folder.mkdir(parents=True)
    (kept.folder / "search-0.plan.part").write_bytes(b"half")
    kept.store(key(), BUILT, {})
    assert not list(kept.folder.glob("*.part"))


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_a_disk_that_takes_nothing_is_told_and_is_no_error(
    kept: Plans, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def fsync(descriptor: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.warns(UserWarning, match=rf"cannot be written \({os.strerror(code)}\): .* from memory"):
        kept.store(key(), BUILT, {})
    assert isinstance(kept.look_up(key()), Miss)
    assert not list(kept.folder.iterdir())


def test_a_place_where_no_folder_can_be_made_is_told_and_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    kept = Plans(tmp_path / "file" / "plans", 100)
    with pytest.warns(UserWarning, match="cannot be written"), kept.locked():
        assert isinstance(kept.look_up(key()), Miss)
    with pytest.warns(UserWarning, match="cannot be written"):
        kept.store(key(), BUILT, {})
    assert kept.timing_cache(key()) == b""
    assert kept.entries() == []


def test_those_used_longest_ago_leave_above_the_limit(tmp_path: Path) -> None:
    kept, built = Plans(tmp_path, 1), Built(bytes(300_000), b"")
    keys = [key(max_batch=n) for n in range(1, 5)]
    for age, each in enumerate(keys[:3]):
        kept.store(each, built, {})
        os.utime(tmp_path / f"{each.stem}.plan", (1000 + age, 1000 + age))
    assert isinstance(kept.look_up(keys[0]), Plan)  # used just now
    kept.store(keys[3], built, {})
    assert [isinstance(kept.look_up(each), Plan) for each in keys] == [True, False, True, True]
    assert len(list(tmp_path.glob("*.json"))) == 3


def test_the_one_just_stored_stays_even_if_it_is_too_large(tmp_path: Path) -> None:
    kept = Plans(tmp_path, 1)
    kept.store(key(), BUILT, {})
    kept.store(key(max_batch=2), Built(bytes(2_000_000), b""), {})
    assert isinstance(kept.look_up(key()), Miss)
    assert isinstance(kept.look_up(key(max_batch=2)), Plan)


def test_the_list_has_the_one_used_last_first(kept: Plans) -> None:
    for n in (1, 2, 3):
        kept.store(key(max_batch=n), BUILT, {})
        os.utime(kept.folder / f"{key(max_batch=n).stem}.plan", (1000 - n, 1000 - n))
    (kept.folder / "torn.plan").write_bytes(b"")
    entries = kept.entries()
    assert [entry.parts["max_batch"] for entry in entries] == [1, 2, 3]
    assert entries[0].size == len(BUILT.plan)
    assert abs(entries[0].built - time.time()) < 600


def test_the_usual_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert Plans("", 1).folder == tmp_path / "distill_tracker_ros" / "plans"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Plans("", 1).folder == tmp_path / ".cache" / "distill_tracker_ros" / "plans"
    assert Plans("~/mine", 1).folder == tmp_path / "mine"


def build_unless_kept(folder: Path, ready: Any, builds: Any) -> None:
    kept = Plans(folder, 100)
    ready.wait()
    with kept.locked():
        if isinstance(kept.look_up(key()), Miss):
            with builds.get_lock():
                builds.value += 1
            time.sleep(0.3)  # long enough for the others to look, were they not to wait
            kept.store(key(), BUILT, {})


def test_programs_that_start_together_build_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    ready, builds = context.Barrier(2), context.Value("i", 0)
    programs = [context.Process(target=build_unless_kept, args=(tmp_path, ready, builds)) for _ in range(2)]
    for program in programs:
        program.start()
    for program in programs:
        program.join(60)
        assert program.exitcode == 0
    assert builds.value == 1


def test_who_waits_for_another_build_can_be_cancelled(kept: Plans) -> None:
    asked = iter([False, False, True])
    with kept.locked(), pytest.raises(BuildCancelled), Plans(kept.folder, 1).locked(lambda: next(asked)):
        pass
    with kept.locked(lambda: True):  # nobody is in the way
        pass
