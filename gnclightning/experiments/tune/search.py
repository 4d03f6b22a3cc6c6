"""The search for a method's best settings."""

from collections.abc import Callable

from gnclightning.experiments.tune.grids import Grid, Point, Value

LEAST_GAIN = 0.02
"""Decibels that a step has to gain: less is chance among a few phantoms."""
MOST_MOVES = 8
"""In one direction of one setting."""
PASSES = 2
"""Over all settings: the best value of one depends on the others."""

_LARGEST = {"renoise": 1.0, "t_min": 1.0}


def search(grid: Grid, quality: Callable[[Point], float]) -> Point:
    """Try all points of the coarse grid, then go from the best one along one setting at a time.

    Args:
        grid: what is tried.
        quality: PSNR of a point, the larger the better; asked for the same point repeatedly.

    Returns:
        The best point.
    """
    found = max(grid.points(), key=quality)
    for _ in range(PASSES):
        before = found
        for name, factor in grid.factors.items():
            found = _refined(found, name, factor, quality)
        if found == before:
            break
    return found


def _refined(point: Point, name: str, factor: float, quality: Callable[[Point], float]) -> Point:
    for by in (factor, 1 / factor):
        moved = _climb(point, name, by, quality)
        if moved != point:
            return moved  # one peak along a setting is taken for granted
    return point


def _climb(point: Point, name: str, by: float, quality: Callable[[Point], float]) -> Point:
    for _ in range(MOST_MOVES):
        value = _times(point[name], by)
        if value == point[name] or float(value) > _LARGEST.get(name, float("inf")):
            break
        following = {**point, name: value}
        if not quality(following) > quality(point) + LEAST_GAIN:
            break
        point = following
    return point


def _times(value: Value, by: float) -> Value:
    """A number times a factor, to three digits; an integer stays one, at least 1."""
    assert not isinstance(value, str)
    if isinstance(value, int):
        return max(1, round(value * by))
    return float(f"{value * by:.3g}")
