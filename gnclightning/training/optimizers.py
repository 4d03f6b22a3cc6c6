"""Muon for matrices and Adam for the rest, as one optimiser that Lightning can drive."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

MATRIX, OTHER = "matrix", "other"


class MuonAdam(torch.optim.Optimizer):
    """`torch.optim.Muon` on hidden weight matrices, `torch.optim.Adam` on all other parameters.

    In equal time Muon's noise-prediction error was a quarter below Adam's (docs/architecture.md).
    Lightning's automatic optimisation, clipping and accumulation take a single optimiser, hence
    this pair behind one interface.

    Args:
        matrices: two-dimensional parameters of hidden layers.
        others: everything else (biases, norms, embeddings, first and last layer).
        matrix_lr: Muon's learning rate, relative to an orthogonal update.
        lr: Adam's learning rate.
        betas: Adam's averaging constants.
        momentum: Muon's momentum.
    """

    def __init__(
        self,
        matrices: Iterable[nn.Parameter],
        others: Iterable[nn.Parameter],
        matrix_lr: float = 0.02,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.99),
        momentum: float = 0.95,
    ):
        self._muon = torch.optim.Muon(
            list(matrices), lr=matrix_lr, momentum=momentum, weight_decay=0.0
        )
        self._adam = torch.optim.Adam(list(others), lr=lr, betas=betas)
        groups = [
            {**self._muon.param_groups[0], "kind": MATRIX},
            {**self._adam.param_groups[0], "kind": OTHER},
        ]
        super().__init__(groups, {})
        self._share()

    def _share(self) -> None:
        """Let the two optimisers work on this one's groups and state."""
        for inner, kind in ((self._muon, MATRIX), (self._adam, OTHER)):
            inner.param_groups = [g for g in self.param_groups if g["kind"] == kind]
            inner.state = self.state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore groups and moments; the state dictionary is that of any optimiser."""
        super().load_state_dict(state_dict)
        self._share()

    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """One step of both."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self._muon.step()
        self._adam.step()
        return loss


def split_parameters(
    network: nn.Module, boundary: Iterable[str]
) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Matrices of hidden layers, and all other parameters.

    Args:
        network: the module to be trained.
        boundary: prefixes of parameter names at the network's boundary, never given to Muon.
    """
    prefixes = tuple(boundary)
    matrices: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, parameter in network.named_parameters():
        hidden = parameter.ndim == 2 and not name.startswith(prefixes)
        (matrices if hidden else others).append(parameter)
    return matrices, others
