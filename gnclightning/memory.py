"""How much memory there is, and freed memory kept for the next tensors.

The first is asked before memory is needed, as Linux kills what takes too much.
"""

import ctypes
import os
from pathlib import Path

from gnclightning.errors import UserError

_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)
"""Where containers say what they may use."""
_USED = (
    Path("/sys/fs/cgroup/memory.current"),
    Path("/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)
"""Where they say what they use, in the same order."""
_SYSTEM = Path("/proc/meminfo")

_WORDS = ("can't allocate memory", "not enough memory", "out of memory", "ALLOC_FAILED")
"""What PyTorch, CUDA and their libraries say where they have no class of errors for it."""

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Of `mallopt`, as <malloc.h> numbers them."""
_KEPT, _LARGEST_OF_HEAP = 2**30, 2**25
"""Bytes; larger tensors are mapped one by one, and 2^25 is the most that glibc allows."""


def keep_memory() -> None:
    """Let the C library keep the memory of freed tensors, for the next ones.

    Glibc would give it back to the system, and most of the time would go into pages that are mapped
    again and cleared. Other C libraries are left alone.
    """
    allocator = ctypes.CDLL(None)
    if hasattr(allocator, "mallopt"):
        allocator.mallopt(_TRIM_THRESHOLD, _KEPT)
        allocator.mallopt(_MMAP_THRESHOLD, _LARGEST_OF_HEAP)


def ran_out(error: BaseException) -> bool:
    """Whether an error means that memory, of whatever device, ran out."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _WORDS)


def total_memory() -> int:
    """Bytes that this machine, or the container around this process, has."""
    known = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    known += [limit for path in _LIMITS if (limit := _number(path)) is not None]
    return min(known)


def available_memory() -> int:
    """Bytes that this process can still take; half of all where the system does not say."""
    known = [total_memory() // 2]
    if _SYSTEM.is_file():
        fields = dict(line.split(":", 1) for line in _SYSTEM.read_text().splitlines())
        if "MemAvailable" in fields:
            known = [1024 * int(fields["MemAvailable"].split()[0])]
    for limit, used in zip(map(_number, _LIMITS), map(_number, _USED), strict=True):
        if limit is not None and used is not None:
            known.append(max(limit - used, 0))
    return min(known)


def check_memory(needed: int, what: str) -> None:
    """Raise `UserError` if `what` takes more bytes than there are."""
    total = total_memory()
    if needed > total:
        raise UserError(
            f"expected {what} to fit into {total / 1e9:.0f} GB of memory, got {needed / 1e9:,.0f} "
            "GB: ask for fewer or smaller ones"
        )


def _number(path: Path) -> int | None:
    text = path.read_text().strip() if path.is_file() else ""
    return int(text) if text.isdigit() else None
