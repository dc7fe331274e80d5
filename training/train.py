"""The one training loop. It knows no method: a method gives named losses, the loop minimises their sum."""

from __future__ import annotations

import csv
import math
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import cv2
import torch
import yaml
from accelerate import Accelerator
from timm.utils import ModelEmaV3
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from . import checkpoint
from .data.augment import augment
from .data.sampler import Batch, Sampler, Sizes
from .data.sources import Footage, ImageStore, read_source
from .methods.tracking import Tracking
from .models.eatrack import EATrackConfig, EATrackStudent
from .recipe import Optimiser, Recipe
from .validate import flights, held_out_sequences, validate

METHODS = {"tracking": Tracking}


def learning_rate_factor(step: int, steps: int, optimiser: Optimiser) -> float:
    """Linear warm-up, plateau, linear decay to zero."""
    warm = min(1.0, (step + 1) / max(1, optimiser.warmup_steps))
    decay = (1 - step / steps) / max(1e-9, 1 - optimiser.decay_from)
    return min(warm, 1.0, max(0.0, decay))


def train(recipe: Recipe, data: Path, output: Path, workers: int | None = None) -> Path:
    """Run or resume a recipe; returns the file of the student's averaged weights.

    Args:
        recipe: what to do. Its `steps` may differ from those of the run that is resumed.
        data: folder of source folders (see data.sources).
        output: folder of the run: checkpoints, log.csv, TensorBoard, the recipe used.
        workers: processes that make samples; None = the recipe's.
    """
    output.mkdir(parents=True, exist_ok=True)
    (output / "recipe.yaml").write_text(yaml.safe_dump(_plain(asdict(recipe)), sort_keys=False))
    torch.manual_seed(recipe.seed)
    accelerator = Accelerator(mixed_precision=recipe.mixed_precision)
    footage, images = load_footage(recipe, data)
    student = EATrackStudent(recipe.student)
    if accelerator.device.type == "cpu":
        use_plain_attention(student)
    student.to(accelerator.device, memory_format=torch.channels_last)
    method = METHODS[recipe.method](student, recipe.box_cells)
    average = ModelEmaV3(student, decay=recipe.optimiser.ema_decay, use_warmup=True)
    optimiser = build_optimiser(student, recipe.optimiser)
    step, seconds = _resume(output, student, average, optimiser)
    loader = sample_loader(recipe, footage, images, step, accelerator, workers)
    method, optimiser = accelerator.prepare(method, optimiser)
    log = Log(output, step) if accelerator.is_main_process else None
    videos = held_out_sequences(footage, images, recipe.data.held_out)
    videos += flights(footage, images, recipe.validation_flights, recipe.seed)
    generator = torch.Generator(accelerator.device)
    started = time.monotonic() - seconds
    progress_bar = tqdm(total=recipe.steps, initial=step, desc=recipe.name, unit="step", mininterval=2.0)
    for batch in loader:
        method.train()
        generator.manual_seed(recipe.seed * 1_000_003 + step * 64 + accelerator.process_index)
        batch = augment(Batch(*(t.to(accelerator.device) for t in batch)), generator)
        for group in optimiser.param_groups:
            group["lr"] = group["base_lr"] * learning_rate_factor(step, recipe.steps, recipe.optimiser)
        with accelerator.autocast():
            losses = method(batch, step / recipe.steps)
        total = weighted_sum(losses, recipe.loss_weights)
        optimiser.zero_grad(set_to_none=True)
        accelerator.backward(total)
        accelerator.clip_grad_norm_(method.parameters(), recipe.optimiser.clip_norm)
        optimiser.step()
        step += 1
        average.update(student, step)
        progress_bar.update()
        if log is None:
            continue
        log.add(losses)
        last = step == recipe.steps
        if step % recipe.checkpoint_every == 0 or last:
            progress_bar.set_postfix(log.flush(step))
            _save(output, step, time.monotonic() - started, student, average, optimiser)
        if step % recipe.validate_every == 0 or last:
            score = validate(average.module, recipe.student, videos)
            log.validation(step, score)
            about = {"steps": step, "samples": step * recipe.optimiser.batch_size * accelerator.num_processes}
            about |= {
                "duration_s": round(time.monotonic() - started),
                "seed": recipe.seed,
                "recipe": recipe.name,
            }
            about |= {"validation_success_auc": round(score, 4)}
            checkpoint.save_student(output, average.module, recipe.student, about)
    progress_bar.close()
    return output / checkpoint.STUDENT_FILE


def load_footage(recipe: Recipe, data: Path) -> tuple[list[Footage], ImageStore]:
    """The objects of the recipe's sources (all folders of `data` if it names none) and their images."""
    names = list(recipe.data.sources) or sorted(p.parent.name for p in data.glob("*/annotations.csv"))
    if not names:
        raise FileNotFoundError(f"{data} holds no source: expected <source>/annotations.csv")
    footage = [item for name in names for item in read_source(data / name)]
    return footage, ImageStore({shot.image for item in footage for shot in item.shots})


def sizes_of(config: EATrackConfig) -> Sizes:
    return Sizes(
        config.search_size,
        config.search_factor,
        config.template_size,
        config.template_factor,
        config.template_slots,
    )


def sample_loader(
    recipe: Recipe,
    footage: list[Footage],
    images: ImageStore,
    step: int,
    accelerator: Accelerator,
    workers: int | None = None,
) -> Iterator[Batch]:
    """The batches from `step` on; every process takes its own share of the numbered samples."""
    batch = recipe.optimiser.batch_size
    ranks, rank = accelerator.num_processes, accelerator.process_index
    sampler = Sampler(
        footage, images, recipe.data, sizes_of(recipe.student), recipe.seed, recipe.steps * batch * ranks
    )
    mine = range(step * batch * ranks + rank, len(sampler), ranks)
    count = recipe.workers if workers is None else workers
    loader = DataLoader(
        Subset(sampler, mine),  # type: ignore[arg-type]
        batch,
        num_workers=count,
        pin_memory=accelerator.device.type == "cuda",
        worker_init_fn=_one_thread,
    )
    return iter(loader)


def _one_thread(_worker: int) -> None:
    """Workers are the parallelism; OpenCV's own threads would fight them."""
    cv2.setNumThreads(0)


def use_plain_attention(student: nn.Module) -> None:
    """On a CPU the plain attention trains faster than the fused one: 113 against 80 samples a second."""
    for module in student.modules():
        if hasattr(module, "fused_attn"):
            module.fused_attn = False


def build_optimiser(student: EATrackStudent, config: Optimiser) -> torch.optim.AdamW:
    """AdamW; biases, norms and position tables do not decay, the backbone may learn slower."""
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in student.named_parameters():
        key = (name.startswith("head."), parameter.dim() > 1 and "positions" not in name)
        groups.setdefault(key, []).append(parameter)
    return torch.optim.AdamW(
        {
            "params": parameters,
            "base_lr": config.learning_rate * (1.0 if is_head else config.backbone_factor),
            "weight_decay": config.weight_decay if decays else 0.0,
        }
        for (is_head, decays), parameters in groups.items()
    )


def weighted_sum(losses: dict[str, Tensor], weights: dict[str, float]) -> Tensor:
    """Raises FloatingPointError naming the first term that is not finite, KeyError for one without weight."""
    for name, value in losses.items():
        if not math.isfinite(value.item()):
            raise FloatingPointError(
                f"the loss term {name!r} is {value.item()}; resume with a lower learning rate"
            )
    return torch.stack([weights[name] * value for name, value in losses.items()]).sum()


class Log:
    """Means of the loss terms to log.csv and TensorBoard."""

    def __init__(self, folder: Path, step: int) -> None:
        self._path = folder / "log.csv"
        self._board = SummaryWriter(str(folder), purge_step=step)
        self._sums: dict[str, float] = {}
        self._count = 0

    def add(self, losses: dict[str, Tensor]) -> None:
        for name, value in losses.items():
            self._sums[name] = self._sums.get(name, 0.0) + value.item()
        self._count += 1

    def flush(self, step: int) -> dict[str, float]:
        means = {name: round(total / self._count, 4) for name, total in self._sums.items()}
        self._sums, self._count = {}, 0
        for name, value in means.items():
            self._write(step, name, value)
        return means

    def validation(self, step: int, score: float) -> None:
        self._write(step, "validation_success_auc", score)

    def _write(self, step: int, name: str, value: float) -> None:
        self._board.add_scalar(name, value, step)
        with self._path.open("a", newline="") as file:
            csv.writer(file).writerow([step, name, value])


def _resume(
    output: Path, student: EATrackStudent, average: ModelEmaV3, optimiser: torch.optim.Optimizer
) -> tuple[int, float]:
    """Load what the folder holds; returns the step to go on from and the seconds spent so far."""
    state = checkpoint.load_resume(output)
    if state is None:
        return 0, 0.0
    student.load_state_dict(state["student"])
    average.module.load_state_dict(state["average"])
    optimiser.load_state_dict(state["optimiser"])
    torch.set_rng_state(state["rng"])
    return state["step"], state["seconds"]


def _save(
    output: Path,
    step: int,
    seconds: float,
    student: EATrackStudent,
    average: ModelEmaV3,
    optimiser: torch.optim.Optimizer,
) -> None:
    checkpoint.save_resume(
        output,
        {
            "step": step,
            "seconds": seconds,
            "student": student.state_dict(),
            "average": average.module.state_dict(),
            "optimiser": optimiser.state_dict(),
            "rng": torch.get_rng_state(),
        },
    )


def _plain(value: object) -> object:
    """Tuples as lists, for YAML."""
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, (list, tuple)) else value
