"""Sections that training and reconstruction share."""

from dataclasses import dataclass
from typing import Literal

from gnclightning.config.sections import Section, bounded

SEEDS = f">= 0, < {2**32}"


@dataclass(kw_only=True)
class LoggerConfig(Section):
    """Tracking with Weights & Biases; CSV files are written in any case."""

    mode: Literal["auto", "online", "offline", "disabled"] = "auto"
    """Whether runs are sent; auto: online if logged in to W&B, else offline."""
    project: str = "gnclightning"
    """W&B project."""
    name: str | None = None
    """Name of the run; null: the name of the output folder."""


@dataclass(kw_only=True)
class OptionalLoggerConfig(LoggerConfig):
    """Tracking with Weights & Biases; the files are written in any case."""

    mode: Literal["auto", "online", "offline", "disabled"] = "disabled"
    """Whether results and figures are sent; auto: online if logged in to W&B, else offline."""


@dataclass(kw_only=True)
class ImageLoggerConfig(LoggerConfig):
    """Tracking with Weights & Biases; CSV files are written in any case."""

    images_every: int = bounded(10, ">= 0")
    """Iterations between two logged pictures of the iterates; 0: only the last."""
