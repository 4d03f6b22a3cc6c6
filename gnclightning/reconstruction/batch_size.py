"""How many images the network sees at once: as many as fit into memory, fewer once they did not."""

from dataclasses import dataclass

import torch

from gnclightning.memory import available_memory, ran_out

MOST_ON_CPU, MOST_ON_GPU = 8, 64
"""Larger batches hardly gain speed, see docs/results.md, and lose more at an interruption."""
_SHARE = 0.5
"""Of the available memory that a batch may take."""


@dataclass
class BatchLimit:
    """The largest number of images that are iterated together; it only ever falls.

    Attributes:
        size: the number, at least 1.
        tried: how many were, last.
    """

    size: int
    tried: int | None = None

    def width(self, images: int) -> int:
        """How many of so many images are iterated together now."""
        self.tried = min(self.size, images)
        return self.tried

    def halve(self, error: BaseException) -> bool:
        """Halve what was tried if `error` is that memory ran out; whether that may help."""
        if not ran_out(error) or self.tried in (None, 1):
            return False
        assert self.tried is not None
        self.size = self.tried // 2
        return True


def fitting_batch_size(
    image_bytes: int, shared_bytes: int, device: torch.device, processes: int
) -> int:
    """How many images fit into the memory that is free, at least 1, as far as more gain anything.

    Args:
        image_bytes: for each image of a batch.
        shared_bytes: whatever the batch is.
        device: that computes.
        processes: on this machine, which share its memory, or its GPUs.
    """
    most = MOST_ON_GPU if device.type == "cuda" else MOST_ON_CPU
    room = _SHARE * _available(device, processes) - shared_bytes
    return max(1, min(most, int(room / max(image_bytes, 1))))


def _available(device: torch.device, processes: int) -> float:
    """Bytes that each of the processes on this machine can take."""
    if device.type == "cuda":
        of_one_gpu = -(-processes // torch.cuda.device_count())
        return torch.cuda.mem_get_info(device)[0] / of_one_gpu
    return available_memory() / processes
