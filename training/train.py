"""The one training loop. It knows no method: a method gives named losses, the loop minimises their sum."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from timm.utils import ModelEmaV3
from torch import Tensor, nn
from tqdm import tqdm

from . import checkpoint
from .data.config import Sizes
from .data.draws import Draws
from .data.footage import Footage
from .data.images import ImageStore
from .data.loader import loader
from .data.making import make_batch
from .data.sampler import Batch, Sampler
from .data.sources import read_sources
from .interrupt import TIME_OVER, Interrupt, Stopped
from .log import Meter, NotFinite
from .methods import method_module, skips_parameters
from .parallel import largest_over_processes, share_batch_norm
from .recipe import Optimiser, Recipe, beside
from .records import Records
from .schedule import learning_rate_factor
from .start import initialise
from .validate import validation_videos

BAD_BATCH_FILE = "bad_batch.pt"
INDEX_FOLDER = "index"  # of the data sets, beside the runs


def train(
    recipe: Recipe, data: Path, output: Path, workers: int | None = None, deadline: float | None = None
) -> Path:
    """Run or resume a recipe; returns the file of the averaged weights.

    Samples and the randomness in the networks are functions of the step, so an interrupted run ends where an
    uninterrupted one does.

    Args:
        recipe: what to do. Its `steps` may differ from those of the run that is resumed.
        data: folder of data sets (see data.sources).
        output: folder of the run, one for all processes: checkpoints, log.csv, TensorBoard, the recipe.
            Files of other runs that the recipe names are looked for beside it.
        workers: processes that make samples, for each that trains; None = the recipe's.
        deadline: time.monotonic() at which to leave; None = at the end of the recipe.

    Raises:
        Stopped: a signal came or the time is over; everything is saved.
        FloatingPointError: a loss or the gradient was not finite; its batch is in BAD_BATCH_FILE.
        ValueError: the recipe does not fit its data, its teacher or the run that it resumes.
        OSError: a file could not be read or written.
    """
    saved = checkpoint.load_resume(output)
    if saved and saved["step"] >= recipe.steps:
        return output / checkpoint.STUDENT_FILE
    ddp = DistributedDataParallelKwargs(find_unused_parameters=skips_parameters(recipe.method))
    accelerator = Accelerator(cpu=not torch.cuda.is_available(), kwargs_handlers=[ddp])
    run = Run(recipe, output, accelerator, saved)
    count = recipe.workers if workers is None else workers
    samples = Samples(recipe, run.sizes, data, output.parent / INDEX_FOLDER, accelerator, count)
    records = None
    if accelerator.is_main_process:
        records = Records(run, validation_videos(recipe, samples.footage, samples.images))
    try:
        _advance_to_the_end(run, samples.batches(run.step), records, deadline)
    except Stopped:
        accelerator.wait_for_everyone()  # until all is saved
        raise
    except NotFinite as error:
        if records:  # the batch of all processes, made again
            batch = next(samples.batches(error.step, alone=True))
            tensors = {name: part.cpu() for name, part in batch._asdict().items()}
            checkpoint.save(output / BAD_BATCH_FILE, {"step": error.step, "name": error.name, **tensors})
        accelerator.wait_for_everyone()
        raise FloatingPointError(
            f"{error}; its batch is in {output / BAD_BATCH_FILE}, and the last checkpoint is intact: go on "
            "with a lower learning_rate or clip_norm"
        ) from error
    finally:
        if records:
            records.close()
    accelerator.wait_for_everyone()  # what comes next may want this student
    return output / checkpoint.STUDENT_FILE


def _advance_to_the_end(
    run: Run, batches: Iterator[Batch], records: Records | None, deadline: float | None
) -> None:
    """The loop. Numbers stay on the device but for every so many steps, as reading them waits for it."""
    recipe, steps = run.recipe, run.recipe.steps
    meter = Meter(recipe.optimiser.batch_size)
    bar = tqdm(
        total=steps,
        initial=run.step,
        desc=recipe.name,
        unit="step",
        mininterval=2.0,
        disable=records is None,
    )
    with Interrupt(deadline) as interrupt, bar:
        while run.step < steps:
            meter.add(run.step, run.advance(next(batches)))
            bar.update()
            last = run.step == steps
            stop = largest_over_processes(interrupt.reason())
            saves = bool(last or stop or run.step % recipe.checkpoint_every == 0)
            validates = last or stop == TIME_OVER or run.step % recipe.validate_every == 0
            if saves or validates or run.step % recipe.log_every == 0:
                means = meter.read()
                if records:
                    bar.set_postfix_str(f"loss {means['total']:.3f}, {means['samples_per_s']:.0f} samples/s")
                    records.write(means, saves, validates)
                meter.restart()
            if stop:
                raise Stopped(f"{recipe.name} is saved at step {run.step} of {steps}", stop)


class Run:
    """What is trained, and how far it is.

    Attributes:
        step: steps done.
        seconds: that they took, without the time between interruption and resume.
        learning_rate: of the last step, outside the backbone.
        student, average: the network that is trained, and the average of its weights.
        hardware: what it runs on, in words.
    """

    def __init__(
        self, recipe: Recipe, output: Path, accelerator: Accelerator, saved: Mapping[str, Any] | None
    ) -> None:
        """
        Args:
            output: folder of the run.
            saved: `state()` of the run that is resumed, or None.
        """
        if recipe.optimiser.batch_size % accelerator.num_processes:
            raise ValueError(
                f"batch_size = {recipe.optimiser.batch_size} must be a multiple of the number of processes, "
                f"{accelerator.num_processes}"
            )
        self.recipe, self.output = recipe, output
        self.step, self.seconds, self.learning_rate = 0, 0.0, 0.0
        self.hardware = _hardware(accelerator)
        self._accelerator = accelerator
        found = beside(recipe, output.parent)
        torch.manual_seed(recipe.seed)
        self.student = recipe.student.build()
        if not saved:
            report = initialise(self.student, found.start)
            if accelerator.is_main_process:
                tqdm.write(f"{recipe.name} {report}")
        if accelerator.device.type == "cpu":
            use_plain_attention(self.student)
        self.student.to(accelerator.device, memory_format=torch.channels_last)
        if recipe.share_batch_norm:
            share_batch_norm(self.student)
        method = method_module(recipe.method)
        self._module: nn.Module = method.build(self.student, found).to(accelerator.device)
        self.sizes: Sizes = self._module.sizes
        self.average = ModelEmaV3(self.student, decay=recipe.optimiser.ema_decay, use_warmup=True)
        self._plain_optimiser = build_optimiser(self._module, recipe.optimiser)
        if saved:
            self._restore(saved)
        self._method, self._optimiser = accelerator.prepare(self._module, self._plain_optimiser)

    def advance(self, batch: Batch) -> dict[str, Tensor]:
        """One step; returns the losses, `total` (their weighted sum), `gradient_norm` (before clipping)."""
        recipe, accelerator = self.recipe, self._accelerator
        # What a network draws (drop-path) is a function of the step too.
        words = (recipe.seed, self.step, accelerator.process_index)
        torch.manual_seed(int(np.random.SeedSequence(words).generate_state(1)[0]))
        self._set_learning_rate()
        self._method.train()
        half = recipe.mixed_precision == "bf16"
        with torch.autocast(accelerator.device.type, torch.bfloat16, enabled=half):
            losses = self._method(batch, self.step / recipe.steps)
        total = weighted_sum(losses, recipe.loss_weights)
        self._optimiser.zero_grad(set_to_none=True)
        accelerator.backward(total)
        norm = accelerator.clip_grad_norm_(self._module.parameters(), recipe.optimiser.clip_norm)
        self._optimiser.step()
        self.step += 1
        self.average.update(self.student, self.step)
        return {**losses, "total": total, "gradient_norm": norm}

    def state(self) -> dict[str, Any]:
        """All that a resumed run needs."""
        return {
            "step": self.step,
            "seconds": self.seconds,
            "method": self._module.state_dict(),
            "average": self.average.module.state_dict(),
            "optimiser": self._plain_optimiser.state_dict(),
        }

    def _set_learning_rate(self) -> None:
        o = self.recipe.optimiser
        factor = learning_rate_factor(self.step, self.recipe.steps, o.schedule, o.warmup_steps, o.decay_from)
        self.learning_rate = factor * o.learning_rate
        for group in self._optimiser.param_groups:
            group["lr"] = factor * group["full_lr"]

    def _restore(self, saved: Mapping[str, Any]) -> None:
        where = f"the run in {self.output}"
        checkpoint.load_weights(self._module, saved["method"], where)
        checkpoint.load_weights(self.average.module, saved["average"], where)
        # Rates and decays are the recipe's, so that a run can go on with others.
        groups = self._plain_optimiser.state_dict()["param_groups"]
        self._plain_optimiser.load_state_dict({**saved["optimiser"], "param_groups": groups})
        self.step, self.seconds = saved["step"], saved["seconds"]


def _hardware(accelerator: Accelerator) -> str:
    count, device = accelerator.num_processes, accelerator.device
    if device.type == "cuda":
        return f"{count} x {torch.cuda.get_device_name(device)}"
    return f"CPU, {count * torch.get_num_threads()} threads"


def use_plain_attention(student: nn.Module) -> None:
    """On a CPU the plain attention trains faster than the fused one: 113 against 80 samples a second."""
    for module in student.modules():
        if hasattr(module, "fused_attn"):
            module.fused_attn = False


def build_optimiser(method: nn.Module, config: Optimiser) -> torch.optim.AdamW:
    """AdamW; biases, norms and position tables do not decay, the student's backbone may learn slower.

    A frozen parameter is left out.
    """
    fresh = tuple(f"student.{part}" for part in method.student.fresh_parts)
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in method.named_parameters():
        if not parameter.requires_grad:
            continue
        backbone = name.startswith("student.") and not name.startswith(fresh)
        decays = parameter.dim() > 1 and "positions" not in name
        groups.setdefault((backbone, decays), []).append(parameter)
    return torch.optim.AdamW(
        {
            "params": parameters,
            "full_lr": config.learning_rate * (config.backbone_factor if backbone else 1.0),
            "weight_decay": config.weight_decay if decays else 0.0,
        }
        for (backbone, decays), parameters in groups.items()
    )


def weighted_sum(losses: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
    """Raises ValueError for a loss without a weight and for a weight without a loss."""
    wanted = {name for name, weight in weights.items() if weight}
    if odd := sorted((set(losses) - set(weights)) | (wanted - set(losses))):
        raise ValueError(
            f"loss_weights and the method disagree on {odd[0]!r}; the losses are {', '.join(losses)}"
        )
    return torch.stack([weights[name] * value for name, value in losses.items()]).sum()


def load_footage(recipe: Recipe, data: Path, cache: Path | None = None) -> tuple[list[Footage], ImageStore]:
    """The objects of the recipe's data sets (all in `data` if it names none) and their images.

    Args:
        cache: folder for the indices of the data sets (see data.sources).
    """
    footage = read_sources(data, list(recipe.data.sources), cache)
    return footage, ImageStore(footage)


class Samples:
    """The numbered samples of a recipe; step s is made of numbers s B to (s + 1) B - 1, B the batch size."""

    def __init__(
        self,
        recipe: Recipe,
        sizes: Sizes,
        data: Path,
        cache: Path,
        accelerator: Accelerator,
        workers: int,
    ) -> None:
        self.footage, self.images = load_footage(recipe, data, cache)
        self._recipe, self._sizes = recipe, sizes
        self._accelerator, self._workers = accelerator, workers

    def batches(self, step: int, alone: bool = False) -> Iterator[Batch]:
        """Batches from a step on: this process's share of the samples, or all of them, if it is alone."""
        recipe, accelerator = self._recipe, self._accelerator
        size, sizes = recipe.optimiser.batch_size, self._sizes
        first, count = (0, 1) if alone else (accelerator.process_index, accelerator.num_processes)
        numbers = [range(s * size + first, (s + 1) * size, count) for s in range(step, recipe.steps)]
        sampler = Sampler(self.footage, self.images, recipe.data, sizes, recipe.seed)
        for patches in loader(sampler, numbers, self._workers, accelerator.device):
            yield make_batch(patches, recipe.data, sizes, Draws(recipe.seed, patches.numbers))
