"""Stands in for pytest-benchmark, where it is not installed: times, and writes the same report."""

import json
import statistics
import time
from pathlib import Path

import pytest


def pytest_addoption(parser):
    parser.addoption("--benchmark-json", type=Path)
    parser.addoption("--benchmark-quiet", action="store_true")
    parser.addoption("--benchmark-timer")


class Benchmark:
    def __init__(self, name):
        self.name, self.extra_info, self.seconds = name, {}, []

    def pedantic(self, function, rounds, warmup_rounds):
        for _ in range(warmup_rounds):
            function()
        for _ in range(rounds):
            begun = time.perf_counter()
            result = function()
            self.seconds.append(time.perf_counter() - begun)
        return result

    def stats(self):
        return {"median": statistics.median(self.seconds)}


_MADE: list[Benchmark] = []


@pytest.fixture
def benchmark(request):
    _MADE.append(Benchmark(request.node.name))
    return _MADE[-1]


def pytest_sessionfinish(session):
    found = [
        {"name": made.name, "extra_info": made.extra_info, "stats": made.stats()}
        for made in _MADE
        if made.seconds
    ]
    session.config.getoption("--benchmark-json").write_text(json.dumps({"benchmarks": found}))
