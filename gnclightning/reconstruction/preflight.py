"""What is checked and said before a reconstruction: numbers that would be wrong if something is."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text
from torch import Tensor

from gnclightning.diagnostics import GradientMismatch, check_gradient
from gnclightning.errors import UserError
from gnclightning.memory import total_memory
from gnclightning.operators import LinearOperator, dot_test
from gnclightning.priors import EnergyPrior, Prior
from gnclightning.priors.base import differentiable_copy
from gnclightning.reconstruction.methods import GraduatedSolver, random_start
from gnclightning.reconstruction.records import MeasuredBatch
from gnclightning.solvers import Status

_ADJOINT_TOLERANCE = 1e-5
"""Of the dot test; float32 explains some 1e-8."""
_STATES = 12
"""Images of a batch that a solver holds at once, beside what the prior's gradient needs."""
_PEAK = 3
"""What a gradient takes at its peak, in units of what autograd keeps for it. With the shipped prior
each image of 128 x 128 in a batch of 16 took 111 MB on a CPU, where autograd keeps 37 MB; with its
network as a score the inspection took 106 MB, where autograd keeps 29 MB, and iterations 11 MB."""
_PATCH = 5
"""Pixels across which the brightest spot of a direct reconstruction is averaged."""
_DIM, _BRIGHT = 0.05, 2.0
"""Brightest patches that speak for a wrong unit: the prior's images lie in [0, 1]."""


@dataclass(frozen=True)
class Probe:
    """What a first image tells of a run.

    Attributes:
        norm: operator norm of A.
        adjoint: of the dot test.
        gradient: of the gradient test.
        brightest: mean of the brightest patch of the direct reconstruction, (B,).
        step_seconds: time of one iteration of the solver.
        step_evaluations: prior evaluations of one iteration with the first trial accepted.
        image_bytes: memory for one image of a batch.
        shared_bytes: memory for the operator and the prior.
    """

    norm: float
    adjoint: float
    gradient: GradientMismatch
    brightest: Tensor
    step_seconds: float
    step_evaluations: int
    image_bytes: int
    shared_bytes: int

    def warnings(self) -> list[str]:
        """What can be borne, but seldom is meant."""
        value = float(self.brightest.max())
        if _DIM <= value <= _BRIGHT:
            return []
        return [
            f"the brightest {_PATCH}x{_PATCH} pixels of the first direct reconstruction have "
            f"the mean {value:.3g}, and the prior's images lie in [0, 1]: check data.white, the "
            "unit of length and the noise"
        ]


def probe(operator: LinearOperator, method: GraduatedSolver, first: MeasuredBatch) -> Probe:
    """Check operator and gradient on one image, and measure what it costs.

    Raises:
        UserError: the adjoint is not the transpose, or a gradient not that of f.
    """
    adjoint = dot_test(operator)
    if not adjoint <= _ADJOINT_TOLERANCE:
        raise UserError(
            f"expected an adjoint that is the operator's transpose, got a mismatch of "
            f"{adjoint:.2g} in the dot test: mend the operator, or take device=cpu"
        )
    objective, start = method.objective(first), method.start(first)
    # A direct start may fit exactly, where the data term has no gradient to compare.
    gradient = check_gradient(objective, random_start(first))
    prior = _bytes_saved(lambda: _gradient(objective.prior, start, _times(start, method)))
    state = method.solver.init(objective, start)
    seconds: list[float] = []
    for _ in range(2):  # the first one warms up
        if not bool((state.status == Status.RUNNING).all()):
            break
        began = time.perf_counter()
        state, _ = method.solver.step(objective, state)
        float(state.point.value.sum())  # waits for the device
        seconds.append(time.perf_counter() - began)
    held = _STATES * (start.nbytes + first.y.nbytes)
    return Probe(
        norm=operator.norm(),
        adjoint=adjoint,
        gradient=gradient,
        brightest=_brightest(first.direct),
        step_seconds=seconds[-1] if seconds else 0.0,
        step_evaluations=1 + objective.move_cost,
        image_bytes=(_PEAK * prior + held) // len(start),
        shared_bytes=sum(buffer.nbytes for buffer in operator.buffers()),
    )


def _gradient(prior: Prior, x: Tensor, t: Tensor) -> object:
    """What autograd keeps most for: an energy's gradient; or a score's, which is inspected."""
    if isinstance(prior, EnergyPrior):
        return prior.energy_and_score(x, t)
    with torch.enable_grad():
        return prior.score(differentiable_copy(x), t)


def _times(x: Tensor, method: GraduatedSolver) -> Tensor:
    return method.solver.schedule.flatten()[-1].to(x).expand(len(x))


def _bytes_saved(function: Callable[[], object]) -> int:
    """Bytes that autograd keeps for a gradient, parameters left out."""
    sizes: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        if not isinstance(tensor, torch.nn.Parameter):
            storage = tensor.untyped_storage()
            sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        function()
    return sum(sizes.values())


def _brightest(images: Tensor) -> Tensor:
    size = min(_PATCH, *images.shape[-2:])
    return torch.nn.functional.avg_pool2d(images, size, stride=1).flatten(1).amax(1)


def check_fits(found: Probe, batch: int, device: torch.device) -> int:
    """The bytes that a batch takes; raises `UserError` if there are not so many."""
    needed = found.shared_bytes + batch * found.image_bytes
    cuda = device.type == "cuda"
    there = torch.cuda.mem_get_info(device)[1] if cuda else total_memory()
    if needed > there:
        fitting = max((there - found.shared_bytes) // max(found.image_bytes, 1), 0)
        remedy = f"give batch_size={fitting}" if fitting else "take fewer angles or smaller images"
        raise UserError(
            f"expected a batch of {batch} images to fit into {there / 1e9:.1f} GB of memory, it "
            f"takes some {needed / 1e9:.1f} GB: {remedy}"
        )
    return needed


@dataclass(frozen=True)
class Preflight:
    """What is said before a run.

    Attributes:
        rows: what was looked at, and what was found.
        headline: the most important of it, in few words.
        warnings: what can be borne, but should be known.
    """

    rows: Sequence[tuple[str, str]]
    headline: str
    warnings: Sequence[str]

    def show_all(self, console: Console) -> None:
        """A table, then the warnings."""
        table = Table(box=box.SIMPLE, show_header=False, padding=(0, 1), pad_edge=False)
        table.add_column(no_wrap=True)
        table.add_column(overflow="fold")
        for name, found in self.rows:
            table.add_row(name, Text(found))
        console.print(table)
        self.show(console, headline=False)

    def show(self, console: Console, headline: bool) -> None:
        """The headline in one line, if it is wanted, and each warning in one."""
        if headline:
            console.print(Text(self.headline), soft_wrap=True)
        for warning in self.warnings:
            console.print(Text(f"warning: {warning}"), soft_wrap=True)


def duration(seconds: float) -> str:
    """A time for people, such as "40 s", "3 min" or "2.5 h"."""
    if seconds < 90:
        return f"{max(seconds, 1):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
