"""Calls that end when the device is done."""

from collections.abc import Callable
from typing import Any

import torch


def finished(function: Callable[[], Any], device: torch.device) -> Callable[[], Any]:
    """The function, waiting for a GPU, which computes on while Python has gone ahead."""

    def whole() -> Any:
        result = function()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return result

    return whole
