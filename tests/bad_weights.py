"""Defective weights, checkpoints and settings."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save

from bad_files import PAGE
from bad_inputs import OUTPUT, Case, reconstruction, training
from gnclightning import cli
from gnclightning.priors import NetworkScore
from gnclightning.priors.storage import KEY
from run_folders import tiny_prior

FILE = "p.safetensors"
_PHANTOMS = ("data.name=ellipses", "data.size=32", "data.count=1", f"prior.path={FILE}")
_TRAINED = ("data.size=32", "data.validation_count=1", "prior.parametrisation=energy")
Weights = dict[str, torch.Tensor]


def _parts(path: Path) -> tuple[Weights, dict[str, Any]]:
    with safe_open(path, framework="pt") as file:
        # Copies: the tensors of an open file are the file itself, which is overwritten.
        weights = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
        return weights, json.loads(file.metadata()[KEY])


def _edited(edit: Callable[[Weights, dict[str, Any]], object]) -> Callable[[Path], object]:
    """Good weights with a change of them or of their description."""

    def write(path: Path) -> None:
        weights, header = _parts(tiny_prior(path))
        edit(weights, header)
        path.write_bytes(save(weights, metadata={KEY: json.dumps(header)}))

    return write


def _half(path: Path) -> None:
    content = tiny_prior(path).read_bytes()
    path.write_bytes(content[: len(content) // 2])


def _pickled(path: Path) -> None:
    torch.save({"state_dict": _parts(tiny_prior(path))[0]}, path)


def _weights(
    what: str, write: Callable[[Path], object], *says: str, more: tuple[str, ...] = ()
) -> Case:
    """Weights to reconstruct with."""

    def plant(folder: Path) -> list[str]:
        write(folder / FILE)
        return reconstruction(*_PHANTOMS, *more)

    return Case(f"weights: {what}", plant, cli.reconstruct, (FILE, *says))


def _start(what: str, write: Callable[[Path], object], *says: str) -> Case:
    """Weights to start a training from."""

    def plant(folder: Path) -> list[str]:
        write(folder / FILE)
        return training(*_TRAINED, f"init={FILE}")

    return Case(f"init: {what}", plant, says=says)


@dataclass
class Trap:
    """What a hostile checkpoint makes an unpickler do."""

    command: str

    def __reduce__(self) -> tuple[Any, ...]:
        import os

        return os.system, (self.command,)


def _checkpoint(what: str, content: object, *says: str) -> Case:
    """A checkpoint in the run folder, from which the training would go on."""

    def plant(folder: Path) -> list[str]:
        (folder / OUTPUT).mkdir()
        path = folder / OUTPUT / "last.ckpt"
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            torch.save(content, path)
        return training(*_TRAINED)

    return Case(f"checkpoint: {what}", plant, says=(f"{OUTPUT}/last.ckpt", *says))


def _settings(what: str, arguments: Sequence[str], *says: str) -> Case:
    return Case(f"settings: {what}", lambda _: arguments, says=says)


def _yaml(what: str, content: bytes, *says: str) -> Case:
    def plant(folder: Path) -> list[str]:
        (folder / "my.yaml").write_bytes(content)
        return ["--config", "my.yaml"]

    return Case(f"YAML: {what}", plant, says=says)


WEIGHTS = [
    _weights("not there", lambda path: None, "no prior at", "expected a .safetensors file"),
    _weights("a pickle", _pickled, "is not a safetensors file", "pickled checkpoints are never"),
    _weights("truncated", _half, "is not a safetensors file", "export a prior with gnc-train"),
    _weights("zero bytes", Path.touch, "is not a safetensors file", "export a prior"),
    _weights("a web page", lambda path: path.write_bytes(PAGE), "is not a safetensors file"),
    _weights("a folder without any", Path.mkdir, "found 0", "name the file itself"),
    _weights(
        "of another program",
        lambda path: path.write_bytes(save({"weight": torch.ones(2)})),
        "expected a file written by gnc-train",
    ),
    _weights(
        "of a later version",
        _edited(lambda _, header: header.update(format=99)),
        "has format 99, this version reads format 1; use the gnclightning version that wrote it",
    ),
    _weights(
        "of another architecture than described",
        _edited(lambda _, header: header["network"].update(channels=16)),
        "does not fit the network that its header describes",
        "export it anew",
    ),
    _weights(
        "NaN",
        _edited(lambda weights, _: weights["leave.bias"].fill_(torch.nan)),
        "holds NaN or infinite weights (leave.bias)",
        "use other weights",
    ),
    _weights(
        "a score, for a method that needs an energy",
        lambda path: tiny_prior(path, kind=NetworkScore),
        "expected a prior with an energy for nmapg",
        "leave nmapg out of methods",
        more=("methods=[nmapg]",),
    ),
    _weights(
        "for images of another size",
        lambda path: tiny_prior(path, (64, 64)),
        "expected images of 64x64 pixels",
        "got 32x32: resample the images, or name weights",
    ),
    _start(
        "another architecture",
        tiny_prior,
        f"init={FILE} has another network",
        "set network to what the weights were trained with",
    ),
    _start("a pickle", _pickled, FILE, "pickled checkpoints are never loaded"),
    _checkpoint(
        "of another architecture",
        {"state_dict": {"weight": torch.ones(2)}},
        "holds another network than the configuration describes",
        "another output=FOLDER, or resume=false",
    ),
    _checkpoint(
        "half-written", b"PK\3\4 half", "is not a checkpoint of this program", "resume=false"
    ),
    _checkpoint(
        "a pickle that runs a command",
        {"state_dict": Trap("touch run/trapped")},
        "is not a checkpoint of this program",
        "move it away, or give resume=false",
    ),
]

SETTINGS = [
    _settings("unknown name", ["trainer.max_stps=5"], "trainer.max_stps: did you mean"),
    _settings("wrong type", ["trainer.max_steps=many"], "trainer.max_steps: expected"),
    _settings(
        "out of bounds", ["optimizer.batch_size=0"], "optimizer.batch_size: expected", ">= 1"
    ),
    _settings("unknown choice", ["data.name=elipses"], "data.name", "did you mean ellipses?"),
    _settings(
        "of another choice", ["data.key=images"], "data.key is a setting of data.name=folder"
    ),
    _settings("missing", ["data.name=folder"], "data.path is required, give data.path=VALUE"),
    _settings("no value", ["seed"], "expected key=value such as seed=7, got 'seed'"),
    _settings("no such file", ["--config", "none.yaml"], "none.yaml; check the path"),
    _yaml("no YAML", b"data: [1, 2\n", "my.yaml"),
    _yaml("other bytes", b"\xff\xfe\0s", "my.yaml: expected YAML in UTF-8"),
    _yaml("a list", b"- seed\n- 3\n", "my.yaml"),
    _yaml("a typo", b"sead: 3\n", "my.yaml: unknown setting sead: did you mean seed?"),
]
