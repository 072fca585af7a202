"""Storage for modules that were made without any."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import nn

Made = TypeVar("Made", bound=nn.Module)


def with_storage(module: Made) -> Made:
    """Give storage on the CPU, not filled, to what a module has on the meta device, and return the module.

    `nn.Module.to_empty` does it too, but imports sympy for it: .4 s of a command.
    """
    for part in module.modules():
        for name, parameter in part.named_parameters(recurse=False):
            if parameter.is_meta:
                empty = torch.empty(parameter.shape, dtype=parameter.dtype)
                setattr(part, name, nn.Parameter(empty, parameter.requires_grad))
        for name, buffer in part.named_buffers(recurse=False):
            if buffer.is_meta:
                setattr(part, name, torch.empty(buffer.shape, dtype=buffer.dtype))
    return module
