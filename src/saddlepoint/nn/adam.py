"""Steps of Adam and AdamW, those of PyTorch's classes bit for bit.

Making `torch.optim.Adam` or `AdamW` imports PyTorch's compiler: 1.1 s of a run and of an evaluation (PyTorch 2.13).
What they call is called here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor
from torch.optim.adam import adam

FUSED = ("cpu", "cuda", "mps")
"""Devices for which PyTorch has fused kernels of Adam and SGD. On others it reads the count of steps in every step."""

State = dict[str, Tensor]
"""What is kept of a parameter, named as `torch.optim.Adam` names it: its own number of steps, and two moments."""


def adam_step(
    parameters: Sequence[Tensor], gradients: Sequence[Tensor], states: Sequence[State], *, lr: float,
    betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8, weight_decay: float = 0.0, decoupled: bool = False,
    fused: bool | None = True,
) -> None:  # fmt: skip
    """Move parameters along their gradients: p -= lr m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + eps).

    Call it without autograd.

    Args:
        parameters: of one learning rate.
        gradients: one for each of them.
        states: one for each of them, written to; empty before its first step.
        lr: learning rate.
        betas: b1 and b2, of the moments m and v.
        eps: added to the root.
        weight_decay: of the weights.
        decoupled: whether the decay is AdamW's, past the moments.
        fused: PyTorch's fused kernels; None: its choice.

    Source: Kingma & Ba 2015, algorithm 1; Loshchilov & Hutter 2019, algorithm 2.
    """
    for parameter, state in zip(parameters, states, strict=True):
        if not state:
            # A count of its own for each parameter: one that several phases train has made more steps.
            # Where nothing is fused PyTorch reads it, for which an accelerator would wait: it stays on the CPU there.
            state["step"] = torch.zeros((), dtype=torch.float32, device=parameter.device if fused else "cpu")
            state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
    if not states:
        return
    first, second, steps = ([state[key] for state in states] for key in ("exp_avg", "exp_avg_sq", "step"))
    adam(
        list(parameters), list(gradients), first, second, [], steps, fused=fused, amsgrad=False, beta1=betas[0],
        beta2=betas[1], lr=lr, weight_decay=weight_decay, eps=eps, maximize=False, decoupled_weight_decay=decoupled,
    )  # fmt: skip


class Adam:
    """Adam, with decoupled weight decay where one is given, for the small networks that figures train.

    Args:
        parameters: what is trained, on the CPU; each must have a gradient when a step is made.
        decay: of the weights, as in `torch.optim.AdamW`.
    """

    def __init__(self, parameters: Iterable[Tensor], decay: float = 0.0) -> None:
        self._parameters, self._decay = list(parameters), decay
        self._states: list[State] = [{} for _ in self._parameters]

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for parameter in self._parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """Move the parameters along their gradients."""
        gradients = [p.grad for p in self._parameters if p.grad is not None]
        adam_step(
            self._parameters, gradients, self._states, lr=rate, weight_decay=self._decay, decoupled=self._decay > 0
        )  # fmt: skip
