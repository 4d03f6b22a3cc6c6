"""Priors in files: what is saved, and what is refused."""

import json

import pytest
import torch
from safetensors.torch import save_file

from gnclightning.errors import UserError
from gnclightning.priors import (
    Form,
    NetworkEnergy,
    NetworkScore,
    PriorMetadata,
    load_prior,
    save_prior,
)
from gnclightning.sde import VPSDE
from tiny_priors import tiny_network

METADATA = PriorMetadata(image_shape=(16, 16))


@pytest.mark.parametrize("kind", [NetworkScore, NetworkEnergy])
def test_saved_prior_loads_equal(kind, tmp_path):
    network = tiny_network(dtype=torch.float32).requires_grad_(False)
    prior = kind(VPSDE(0.2, 15.0), network, Form.GRADIENT_STEP)
    save_prior(prior, METADATA, tmp_path / "p.safetensors")
    x, t = torch.rand(1, 1, 16, 16), torch.tensor([0.3])
    for path in (tmp_path / "p.safetensors", tmp_path):
        loaded, metadata = load_prior(path)
        assert type(loaded) is kind
        assert loaded.sde == prior.sde
        assert metadata == METADATA
        assert torch.equal(loaded.score(x, t), prior.score(x, t))
        assert not any(p.requires_grad for p in loaded.parameters())
    assert [f.name for f in tmp_path.iterdir()] == ["p.safetensors"]


def test_what_is_no_prior_is_refused(tmp_path):
    with pytest.raises(UserError, match="no prior at"):
        load_prior(tmp_path / "absent.safetensors")
    with pytest.raises(UserError, match="found 0"):
        load_prior(tmp_path)
    torch.save({"a": 1}, tmp_path / "pickle.safetensors")
    with pytest.raises(UserError, match="not a safetensors file"):
        load_prior(tmp_path / "pickle.safetensors")
    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(UserError, match="no description"):
        load_prior(tmp_path / "other.safetensors")


def test_weights_of_another_network_are_refused(tmp_path):
    file = tmp_path / "p.safetensors"
    prior = NetworkScore(VPSDE(), tiny_network(dtype=torch.float32))
    save_prior(prior, METADATA, file)
    from safetensors import safe_open

    with safe_open(file, framework="pt") as handle:
        header = json.loads(handle.metadata()["gnclightning"])
        # A safetensors handle has keys() but cannot be iterated.
        weights = {k: handle.get_tensor(k) for k in handle.keys()}  # noqa: SIM118
    header["network"]["channels"] = 16
    save_file(weights, file, metadata={"gnclightning": json.dumps(header)})
    with pytest.raises(UserError, match=r"should be .* is "):
        load_prior(file)
    metadata = {**header["metadata"], "image_shape": [16]}
    for key, value in (
        ("form", "cubic"),
        ("parametrisation", "flow"),
        ("sde", {"beta": 1}),
        ("metadata", metadata),
    ):
        save_file(weights, file, metadata={"gnclightning": json.dumps({**header, key: value})})
        with pytest.raises(UserError, match="cannot build"):
            load_prior(file)
    save_file(weights, file, metadata={"gnclightning": "{"})
    with pytest.raises(UserError, match="damaged description"):
        load_prior(file)
    header["format"] = 99
    save_file(weights, file, metadata={"gnclightning": json.dumps(header)})
    with pytest.raises(UserError, match="format 99"):
        load_prior(file)


def test_weights_of_a_diverged_training_are_refused(tmp_path):
    prior = NetworkEnergy(VPSDE(), tiny_network(dtype=torch.float32).requires_grad_(False))
    prior.network.leave.bias[0] = torch.nan
    save_prior(prior, METADATA, tmp_path / "p.safetensors")
    with pytest.raises(UserError, match=r"NaN or infinite weights \(leave.bias\).*use other"):
        load_prior(tmp_path / "p.safetensors")
