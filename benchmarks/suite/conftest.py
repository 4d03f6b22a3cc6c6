"""Options of the benchmarks, and what they share. `benchmarks/bench.py` runs them."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from timing import finished


def pytest_addoption(parser: pytest.Parser) -> None:
    """Where to compute, and how little."""
    parser.addoption("--device", default="cpu")
    parser.addoption("--tiny", action="store_true", help="sizes that show that all works")


@pytest.fixture(scope="session")
def device(request: pytest.FixtureRequest) -> torch.device:
    """The device that is measured."""
    return torch.device(str(request.config.getoption("--device")))


@pytest.fixture(scope="session")
def tiny(request: pytest.FixtureRequest) -> bool:
    """Whether only the way is tried."""
    return bool(request.config.getoption("--tiny"))


@pytest.fixture
def measure(
    benchmark: Any, device: torch.device, tiny: bool, request: pytest.FixtureRequest
) -> Callable[..., Any]:
    """Time a function, some rounds of it, and keep what is known of it beside.

    The first call is not timed. On a GPU each round ends when the device is done.
    """

    def run(function: Callable[[], Any], rounds: int = 9, **known: Any) -> Any:
        values = getattr(request.node, "callspec", None)
        benchmark.extra_info.update(values.params if values else {})
        benchmark.extra_info.update(known)
        return benchmark.pedantic(
            finished(function, device), rounds=1 if tiny else rounds, warmup_rounds=1
        )

    return run
