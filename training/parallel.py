"""What several processes share beside the gradients: N of batch b train as one of batch N b does."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn


def mean_over_processes(value: Tensor) -> Tensor:
    """The mean over all processes, detached; the tensor itself where there is one process.

    Every process must call this and what follows at the same place, with the same shape.
    """
    if not _several():
        return value
    total = value.detach().clone()
    dist.all_reduce(total)
    return total / dist.get_world_size()


def smallest_over_processes(value: Tensor) -> Tensor:
    """The minimum over all processes, elementwise and detached."""
    if not _several():
        return value
    smallest = value.detach().clone()
    dist.all_reduce(smallest, dist.ReduceOp.MIN)
    return smallest


def largest_over_processes(value: int) -> int:
    """The maximum of a number on the host. Does not wait for the training device."""
    if not _several():
        return value
    tensor = torch.tensor(value)
    dist.all_reduce(tensor, dist.ReduceOp.MAX, group=_host_group())
    return int(tensor)


def share_batch_norm(module: nn.Module) -> None:
    """Let the batch norms in `module` use the statistics of the batches of all processes (equal in size).

    In place, with the same parameters and state_dict; nothing changes where there is one process. Each layer
    waits for all processes, twice a step: for eatrack_small in two processes on two cores, with some other
    work beside, a step took 15 to 35 % longer.
    """
    if not _several():
        return
    if next(module.parameters()).device.type == "cuda":
        nn.SyncBatchNorm.convert_sync_batchnorm(module)
        return
    for layer in list(module.modules()):
        if type(layer) is nn.BatchNorm2d:
            layer.__class__ = SharedBatchNorm


class SharedBatchNorm(nn.BatchNorm2d):
    """Batch norm over all processes on CPUs; torch's SyncBatchNorm is for GPUs only."""

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return super().forward(input)
        followed = self.running_mean, self.running_var
        # With momentum 0 the kernel leaves these two; given them, it computes in their precision.
        mean, variance = torch.batch_norm_update_stats(input.detach(), *followed, 0.0)
        means, variances = _of_all_processes(torch.stack([mean, variance])).unbind(1)
        mean = means.mean(0)
        variance = (variances + (means - mean) ** 2).mean(0)
        count = dist.get_world_size() * input.numel() // input.shape[1]
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance * (count / (count - 1)), self.momentum)
        self.num_batches_tracked += 1
        return _Normalise.apply(input, self.weight, self.bias, mean, variance, self.eps)


class _Normalise(torch.autograd.Function):
    """torch's kernel of batch norm around statistics of all processes.

    The gradient with respect to the input is s (dy - mean(dy) - n mean(n dy)), s the scale of the channel
    and n the normalised input; the means are those over all processes.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, variance: Tensor, eps: float
    ) -> Tensor:
        ctx.save_for_backward(x, weight, mean, variance)
        ctx.eps = eps
        return F.batch_norm(x, mean, variance, weight, bias, eps=eps)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, variance = ctx.saved_tensors
        inverse = torch.rsqrt(variance + ctx.eps)
        _, to_weight, to_bias = torch.ops.aten.native_batch_norm_backward(
            gradient, x, weight, None, None, mean, inverse, True, ctx.eps, [False, True, True]
        )
        scale = (weight * inverse).to(x.dtype)
        sums = mean_over_processes(torch.stack([to_weight, to_bias]))
        slope, shift = -scale.float() * sums * (x.shape[1] / x.numel())
        to_x = F.batch_norm(x, mean, variance, slope, shift, eps=ctx.eps)
        to_x.addcmul_(gradient, scale.view(1, -1, 1, 1))
        return to_x, to_weight, to_bias, None, None, None


def _of_all_processes(value: Tensor) -> Tensor:
    """[...] -> [processes, ...]"""
    values = [torch.empty_like(value) for _ in range(dist.get_world_size())]
    dist.all_gather(values, value)
    return torch.stack(values)


@cache
def _host_group() -> dist.ProcessGroup:
    """Processes that talk over the network, not through GPUs."""
    return dist.new_group(backend="gloo")


def _several() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
