"""Compute layers by the kernels with every tensor between two pages of memory that may not be touched.

A program of its own: the processor ends it where a kernel reads or writes beyond a tensor.
"""

from __future__ import annotations

import ctypes
import mmap
import sys
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from saddlepoint.nn.native import build, elementwise, products
from tests.unit.kernels import Case, assert_near, drawn, right

CASES = 60
LIBC = ctypes.CDLL(None, use_errno=True)
AT_END = True
"""Whether tensors end where the page behind begins, or begin where the page before ends."""


def room(size: int, dtype: torch.dtype) -> Tensor:
    """Return a flat tensor next to a page that may not be touched; there is another on its other side."""
    page, each = mmap.PAGESIZE, torch.empty((), dtype=dtype).element_size()
    inside = -(-max(1, size * each) // page) * page
    memory = mmap.mmap(-1, inside + 2 * page)
    begin = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    for place in (begin, begin + page + inside):
        if LIBC.mprotect(ctypes.c_void_p(place), page, 0):  # PROT_NONE
            raise OSError(ctypes.get_errno(), "mprotect")
    at = page + (inside - size * each if AT_END else 0)
    if not size:
        return torch.empty(0, dtype=dtype)
    found = torch.frombuffer(memory, dtype=dtype, count=size, offset=at)
    return found.fill_(torch.nan) if dtype.is_floating_point else found  # what is read and was never written is NaN


def placed(x: Tensor, last: bool = False) -> Tensor:
    """Copy a tensor between pages, dense: channels last where ``last``."""
    flat = room(x.numel(), x.dtype)
    if last and x.ndim == 4:
        n, c, h, w = x.shape
        return flat.view(n, h, w, c).permute(0, 3, 1, 2).copy_(x)
    return flat.view(x.shape).copy_(x)


def new(shape: tuple[int, ...], full: bool) -> Tensor:
    return placed(torch.empty(shape, dtype=torch.float32 if full else torch.bfloat16), last=True).fill_(torch.nan)


def check(case: Case) -> None:
    """Compute all three products of a layer, and compare them."""
    layer, after = case.layer, products.After(bias=case.bias, slope=case.slope)
    if case.kind == "transposed":
        y = products.input_gradient(case.x, case.along.shape, case.weight, layer, after)
    else:
        y = products.convolved(case.x, case.weight, layer, after)
    v = y if case.slope == 1 else elementwise.times_slope(case.along, y, case.slope)
    v = placed(case.along, last=True) if case.slope == 1 else v
    full = case.x.dtype == torch.float32
    if case.kind == "transposed":
        dx = products.convolved(v, case.weight, layer, full=full)
        dw = products.weight_gradient(v, case.x, case.weight, layer)
    else:
        dx = products.input_gradient(v, case.x.shape, case.weight, layer, full=full)
        dw = products.weight_gradient(case.x, v, case.weight, layer)
    what = right(case, y)
    assert_near(y, what.y, what.sizes["y"], rounded=True)
    assert_near(dx, what.dx, what.sizes["dx"], rounded=not full)
    assert_near(dw, what.dw, what.sizes["dw"], rounded=False)
    assert_near(elementwise.channel_sums(v), what.db, what.sizes["db"], rounded=False)


def check_between(x: Tensor) -> None:
    """Compute what stands between products."""
    bytes_ = room(x.numel(), torch.uint8).view(x.shape).zero_()
    elementwise.dropped(x, elementwise.Kept(bytes_, 3, 1.0), full=True)
    elementwise.rms_rows(x, 0.2, 1.0, 1e-6)
    elementwise.rms_rows_backward(x, x, 0.2, 1.0, 1e-6)
    elementwise.combined(x, x, placed(torch.ones(len(x))))
    if x.ndim == 2 and x.shape[1] % 2 == 0:
        pieces = placed(x.bfloat16())
        elementwise.maxout_backward(pieces, elementwise.maxout(pieces, 2), 2)


def read_beyond() -> None:
    """Let a kernel read 16 numbers more than there are."""
    x, sums = room(16, torch.float32), torch.empty(32)
    products.load().column_sums(x.data_ptr(), 1, None, sums.data_ptr(), 1, 1, 32)


def sanitized() -> None:
    """Compute with a library whose every access is checked, with one thread and with three."""
    build.FLAGS = ("-O1", "-g", "-march=native", "-std=gnu11", "-shared", "-fPIC", "-fsanitize=address")
    build.SECONDS = 900.0  # checks take a compiler ten times as long
    for threads in (1, 3):
        torch.set_num_threads(threads)
        for seed in range(300):
            case = drawn(seed)
            check(case)
            check_between(case.x)
    sys.stdout.write("all of 600 are right\n")


def main() -> None:
    global AT_END
    if sys.argv[1:] == ["beyond"]:
        read_beyond()
    if sys.argv[1:] == ["sanitized"]:
        sanitized()
        return
    empty_like = torch.empty_like

    def like(x: Tensor, **kwargs: Any) -> Tensor:
        flat = room(x.numel(), kwargs.get("dtype", x.dtype))
        return torch.as_strided(flat, x.shape, empty_like(x).stride())

    for at_end in (True, False):
        AT_END = at_end
        for seed in range(CASES):
            case = drawn(seed)
            case = replace(
                case, x=placed(case.x, last=True), weight=placed(case.weight, last=seed % 2 == 0),
                bias=None if case.bias is None else placed(case.bias), along=placed(case.along, last=True),
            )  # fmt: skip
            products.new = elementwise.new = new
            products._aligned, torch.empty_like = lambda size: room(size, torch.bfloat16), like  # type: ignore[assignment]
            try:
                check(case)
                check_between(case.x)
            finally:
                torch.empty_like = empty_like
    sys.stdout.write(f"all of {2 * CASES} are right\n")


if __name__ == "__main__":
    main()
