"""From an ONNX graph to a plan."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Event
from types import ModuleType
from typing import Any

from . import compat, cuda
from .compat import TensorRtError
from .options import TensorRtOptions

Progress = Callable[[str, float], None]  # what is done now, and the share of the whole that is done, 0 to 1


class BuildCancelled(Exception):
    """The caller wanted no plan any more."""


@dataclass(frozen=True)
class Built:
    plan: bytes
    timing_cache: bytes  # for the next build on this machine; empty where TensorRT keeps none


def build_plan(
    trt: ModuleType,
    graph: bytes,
    max_batch: int,
    options: TensorRtOptions,
    *,
    compute_capabilities: Sequence[tuple[int, int]] = (),
    timing_cache: bytes = b"",
    progress: Progress | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Built:
    """Compile a graph for batches of 1 to `max_batch`; it takes seconds to minutes.

    The work is done in a thread of its own: an interrupt (Ctrl-C) must not strike within TensorRT's calls of
    `progress`. TensorRT 8.6 calls nobody back: there, a build that is interrupted goes on to its end first.

    Args:
        trt: see `compat.find`.
        graph: an ONNX file with its weights; the types of its tensors are those of the plan.
        options: precision = "float32" takes float32 literally, without the TF32 that is usual otherwise.
        compute_capabilities: build for these GPUs, none of which has to be here; TensorRT-RTX only.
        timing_cache: of an earlier build; one that does not fit is left out.
        progress: called from the other thread.
        cancelled: likewise; True ends the build.

    Raises:
        TensorRtError: the graph cannot be read or built; with TensorRT's words.
        CudaError: there is no GPU to build for.
        BuildCancelled: `cancelled` said so.
    """
    stop = Event()

    def stopped() -> bool:
        return stop.is_set() or (cancelled is not None and cancelled())

    monitor = _monitor(trt, progress, stopped) if compat.reports_progress(trt) else None

    def work() -> Built:
        log = compat.log(trt)
        log.errors.clear()
        try:
            if not compute_capabilities:
                cuda.use(options.device)
            builder = trt.Builder(log)
            network = builder.create_network(compat.network_flags(trt))
            parser = trt.OnnxParser(network, log)  # it owns the weights for as long as the build takes
            _parse(trt, parser, graph)
            config = builder.create_builder_config()
            config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace_mb << 20)
            config.builder_optimization_level = options.optimisation_level
            config.max_aux_streams = 0  # all in the one stream that a CUDA graph records
            if options.precision == "float32":
                config.clear_flag(trt.BuilderFlag.TF32)
            compat.set_types(trt, network, config)
            config.add_optimization_profile(_profile(builder, network, max_batch))
            if compute_capabilities:
                compat.set_compute_capabilities(trt, config, compute_capabilities)
            if not compat.is_rtx(trt):
                _set_timing_cache(config, timing_cache)
            if monitor:
                config.progress_monitor = monitor
            if stopped():
                raise BuildCancelled("the build was cancelled before it began")
            plan = builder.build_serialized_network(network, config)
            if plan is not None:
                timings = b"" if compat.is_rtx(trt) else bytes(config.get_timing_cache().serialize())
                return Built(bytes(plan), timings)
        except (TypeError, RuntimeError, MemoryError) as error:  # what its bindings raise
            reason = "; ".join((*log.errors, " ".join(str(error).split())))
            raise TensorRtError(f"{_name(trt)} cannot build a plan: {reason}") from error
        if monitor and monitor.error:
            raise monitor.error
        if stopped():
            raise BuildCancelled("the build was cancelled")
        raise TensorRtError(f"{_name(trt)} cannot build a plan: {log.reason()}")

    with ThreadPoolExecutor(1) as thread:
        try:
            return thread.submit(work).result()
        except BaseException:
            stop.set()
            raise


def _name(trt: ModuleType) -> str:
    return f"{trt.__name__} {trt.__version__}"


def _parse(trt: ModuleType, parser: Any, graph: bytes) -> None:
    if not parser.parse(graph):
        errors = [" ".join(str(parser.get_error(i)).split()) for i in range(parser.num_errors)]
        reason = "; ".join(errors) or compat.log(trt).reason()
        raise TensorRtError(f"{_name(trt)} cannot read the graph: {reason}")


def _profile(builder: Any, network: Any, max_batch: int) -> Any:
    """Tuned for one target, which is the most usual; good for up to `max_batch`."""
    profile = builder.create_optimization_profile()
    for i in range(network.num_inputs):
        tensor = network.get_input(i)
        batch, *sizes = tensor.shape
        if batch != -1 or -1 in sizes:
            raise TensorRtError(
                f"input {tensor.name} has the shape {[batch, *sizes]}: "
                "its first axis must be open (-1), and no other"
            )
        profile.set_shape(tensor.name, (1, *sizes), (1, *sizes), (max_batch, *sizes))
    return profile


def _set_timing_cache(config: Any, content: bytes) -> None:
    for each in (content, b""):  # one of another version or GPU is refused
        timings = config.create_timing_cache(each)
        if timings is not None and config.set_timing_cache(timings, ignore_mismatch=False):
            return


def _monitor(trt: ModuleType, progress: Progress | None, stopped: Callable[[], bool]) -> Any:
    class Monitor(trt.IProgressMonitor):  # type: ignore[misc,name-defined]
        """TensorRT ends the process when one of these raises: errors of the caller wait in `error`."""

        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self.error: Exception | None = None
            self._phases = Phases()

        def phase_start(self, phase: str, parent: str | None, steps: int) -> None:
            self._phases.start(phase, parent, steps)

        def phase_finish(self, phase: str) -> None:
            self._phases.finish(phase)

        def step_complete(self, phase: str, step: int) -> bool:
            try:
                share = self._phases.step(phase, step)
                if progress:
                    progress(phase, share)
                return not stopped()
            except Exception as error:
                self.error = error
                return False

    return Monitor()


class Phases:
    """TensorRT's phases, which lie within one another, as one share that never falls."""

    def __init__(self) -> None:
        self._phases: dict[str, tuple[str | None, int, int]] = {}  # name -> parent, steps, steps done
        self._share = 0.0

    def start(self, phase: str, parent: str | None, steps: int) -> None:
        self._phases[phase] = parent, steps, 0

    def finish(self, phase: str) -> None:
        self._phases.pop(phase, None)

    def step(self, phase: str, step: int) -> float:
        """Note that a step of a phase, counted from 0, is done; return the share of the whole, 0 to 1."""
        if phase in self._phases:
            parent, steps, _ = self._phases[phase]
            self._phases[phase] = parent, steps, step + 1
        share, name = 0.0, phase
        while name in self._phases:
            parent, steps, done = self._phases[name]
            share, name = min(1.0, (done + share) / steps), parent or ""
        self._share = max(self._share, share)
        return self._share
