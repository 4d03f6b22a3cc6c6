"""Priors in files: what is saved, and what is refused."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

import gnclightning
from gnclightning.errors import UserError
from gnclightning.priors import (
    Form,
    NetworkEnergy,
    NetworkScore,
    PriorMetadata,
    from_pretrained,
    save_pretrained,
)
from gnclightning.sde import VPSDE
from tiny_priors import tiny_network

METADATA = PriorMetadata(image_shape=(16, 16))


@pytest.mark.parametrize("kind", [NetworkScore, NetworkEnergy])
def test_saved_prior_loads_equal(kind, tmp_path):
    network = tiny_network(dtype=torch.float32).requires_grad_(False)
    prior = kind(VPSDE(0.2, 15.0), network, Form.GRADIENT_STEP)
    save_pretrained(prior, METADATA, tmp_path / "p.safetensors")
    x, t = torch.rand(1, 1, 16, 16), torch.tensor([0.3])
    for path in (tmp_path / "p.safetensors", tmp_path):
        loaded, metadata = from_pretrained(path)
        assert type(loaded) is kind
        assert loaded.sde == prior.sde
        assert metadata == METADATA
        assert torch.equal(loaded.score(x, t), prior.score(x, t))
        assert not any(p.requires_grad for p in loaded.parameters())
    assert [f.name for f in tmp_path.iterdir()] == ["p.safetensors"]


def test_a_folder_gives_back_bit_for_bit_what_it_was_given(tmp_path):
    """By the public names, through two folders."""
    prior = NetworkEnergy(VPSDE(), tiny_network(dtype=torch.float32))
    given = PriorMetadata((16, 24), training={"data": "ellipses", "images_seen": 8, "hours": 1 / 3})
    gnclightning.save_pretrained(prior, given, tmp_path / "first")
    loaded, metadata = gnclightning.from_pretrained(tmp_path / "first")
    assert metadata == given
    gnclightning.save_pretrained(loaded, metadata, str(tmp_path / "second"))
    first, second = (
        {file.name: file.read_bytes() for file in (tmp_path / name).iterdir()}
        for name in ("first", "second")
    )
    assert first == second
    assert sorted(first) == ["README.md", "prior.safetensors"]
    weights = load_file(tmp_path / "second" / "prior.safetensors")
    assert weights.keys() == prior.network.state_dict().keys()
    for name, value in prior.network.state_dict().items():
        assert torch.equal(weights[name], value)


def test_what_is_no_prior_is_refused(tmp_path):
    with pytest.raises(UserError, match="no prior at"):
        from_pretrained(tmp_path / "absent.safetensors")
    with pytest.raises(UserError, match="found 0; name the file itself"):
        from_pretrained(tmp_path)
    for name in ("last.ckpt", "pytorch_model.bin"):
        torch.save({"a": 1}, tmp_path / name)
    beside = (
        r"found 0 beside last\.ckpt, pytorch_model\.bin, which may hold pickles and are not read"
    )
    with pytest.raises(UserError, match=beside):
        from_pretrained(tmp_path)
    torch.save({"a": 1}, tmp_path / "pickle.safetensors")
    with pytest.raises(UserError, match="not a safetensors file"):
        from_pretrained(tmp_path / "pickle.safetensors")
    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(UserError, match="no description"):
        from_pretrained(tmp_path / "other.safetensors")


def test_names_of_repositories_are_not_downloaded(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"nothing is downloaded.*hf download lab/ct-prior"):
        from_pretrained("lab/ct-prior")
    for other in ("runs/absent.safetensors", "/lab/ct-prior", "ellipses-256"):
        with pytest.raises(UserError, match=r"no prior at .*\(ellipses-128\)$"):
            from_pretrained(other)


def test_weights_of_another_network_are_refused(tmp_path):
    file = tmp_path / "p.safetensors"
    prior = NetworkScore(VPSDE(), tiny_network(dtype=torch.float32))
    save_pretrained(prior, METADATA, file)
    from safetensors import safe_open

    with safe_open(file, framework="pt") as handle:
        header = json.loads(handle.metadata()["gnclightning"])
        # A safetensors handle has keys() but cannot be iterated.
        weights = {k: handle.get_tensor(k) for k in handle.keys()}  # noqa: SIM118
    header["network"]["channels"] = 16
    save_file(weights, file, metadata={"gnclightning": json.dumps(header)})
    with pytest.raises(UserError, match=r"should be .* is "):
        from_pretrained(file)
    metadata = {**header["metadata"], "image_shape": [16]}
    for key, value in (
        ("form", "cubic"),
        ("parametrisation", "flow"),
        ("sde", {"beta": 1}),
        ("metadata", metadata),
    ):
        save_file(weights, file, metadata={"gnclightning": json.dumps({**header, key: value})})
        with pytest.raises(UserError, match="cannot build"):
            from_pretrained(file)
    save_file(weights, file, metadata={"gnclightning": "{"})
    with pytest.raises(UserError, match="damaged description"):
        from_pretrained(file)
    header["format"] = 99
    save_file(weights, file, metadata={"gnclightning": json.dumps(header)})
    with pytest.raises(UserError, match="format 99"):
        from_pretrained(file)


def test_weights_of_a_diverged_training_are_refused(tmp_path):
    prior = NetworkEnergy(VPSDE(), tiny_network(dtype=torch.float32).requires_grad_(False))
    prior.network.leave.bias[0] = torch.nan
    save_pretrained(prior, METADATA, tmp_path / "p.safetensors")
    with pytest.raises(UserError, match=r"NaN or infinite weights \(leave.bias\).*use other"):
        from_pretrained(tmp_path / "p.safetensors")
