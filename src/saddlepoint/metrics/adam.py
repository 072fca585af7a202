"""Steps of Adam and AdamW for the small networks that figures train."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.optim.adam import adam


class Adam:
    """Adam, with decoupled weight decay where one is given.

    Making `torch.optim.Adam` or `AdamW` imports PyTorch's compiler: 1.1 s of each evaluation. The steps are theirs, bit
    for bit.

    Args:
        parameters: what is trained, on the CPU; each must have a gradient when a step is made.
        decay: of the weights, as in `torch.optim.AdamW`.

    Source: Kingma & Ba 2015, algorithm 1; Loshchilov & Hutter 2019, algorithm 2.
    """

    def __init__(self, parameters: Iterable[Tensor], decay: float = 0.0) -> None:
        self._parameters, self._decay = list(parameters), decay
        self._first, self._second = ([torch.zeros_like(p) for p in self._parameters] for _ in range(2))
        self._steps = [torch.zeros((), dtype=torch.float32) for _ in self._parameters]

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for parameter in self._parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """Move the parameters along their gradients."""
        gradients = [p.grad for p in self._parameters if p.grad is not None]
        adam(
            self._parameters, gradients, self._first, self._second, [], self._steps, fused=True, amsgrad=False,
            beta1=0.9, beta2=0.999, lr=rate, weight_decay=self._decay, eps=1e-8, maximize=False,
            decoupled_weight_decay=self._decay > 0,
        )  # fmt: skip
