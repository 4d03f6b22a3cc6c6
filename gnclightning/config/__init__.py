"""The schema of configurations, and how to load, show and save one."""

from gnclightning.config.help import schema_help
from gnclightning.config.inspect import InspectConfig
from gnclightning.config.loading import (
    from_yaml_text,
    load,
    load_inspect_config,
    load_phantoms_config,
    load_reconstruct_config,
    load_train_config,
    save,
    to_yaml,
)
from gnclightning.config.phantoms import PhantomsConfig
from gnclightning.config.reconstruct import ReconstructConfig
from gnclightning.config.train import TrainConfig

__all__ = [
    "InspectConfig",
    "PhantomsConfig",
    "ReconstructConfig",
    "TrainConfig",
    "from_yaml_text",
    "load",
    "load_inspect_config",
    "load_phantoms_config",
    "load_reconstruct_config",
    "load_train_config",
    "save",
    "schema_help",
    "to_yaml",
]
