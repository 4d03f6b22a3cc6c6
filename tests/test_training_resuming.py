"""Going on with other devices, batches and accumulation, at the same images per step."""

from collections import defaultdict

import pytest
import torch

from gnclightning import cli
from gnclightning.training.batching import Sharing
from gnclightning.training.module import DenoisingModule
from trainings import TINY, differing, train

FEW = ["reconstruction.every_n_steps=0", "data.train_count=12", "trainer.val_check_interval=100"]


def shared(images: int, batches: int) -> list[str]:
    settings = [f"optimizer.batch_size={images}", f"trainer.accumulate_grad_batches={batches}"]
    return [*FEW, *settings]


@pytest.fixture
def seen(monkeypatch):
    """By step, all that its losses depend on besides the weights, in the order of the images."""
    steps, loss = defaultdict(list), DenoisingModule._loss

    def watched(self, x, t, noise, excess=None, teacher=None):
        if excess is not None:  # not in validation
            steps[self.global_step].append((x.clone(), t, noise, excess))
        return loss(self, x, t, noise, excess, teacher)

    monkeypatch.setattr(DenoisingModule, "_loss", watched)
    return steps


def distance(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> float:
    return sum((a[name] - b[name]).square().sum().item() for name in a) ** 0.5


def joined(steps) -> dict[int, list[torch.Tensor]]:
    return {step: [torch.cat(parts) for parts in zip(*s, strict=True)] for step, s in steps.items()}


def test_a_run_goes_on_with_its_images_times_and_noise_however_they_are_shared(tmp_path, seen):
    """Epochs of three steps of four images; the sharing changes within and at their ends."""
    whole = train(tmp_path / "whole", 9, *shared(4, 1))
    expected = joined(seen)
    seen.clear()
    for steps, images, batches in ((2, 2, 2), (3, 4, 1), (5, 1, 4), (6, 2, 2), (9, 4, 1)):
        parts = train(tmp_path / "parts", steps, *shared(images, batches))
    found = joined(seen)
    assert list(found) == list(expected) == list(range(9))
    for step, values in expected.items():
        for a, b in zip(values, found[step], strict=True):
            assert torch.equal(a, b)
    assert len({values[1].sum().item() for values in expected.values()}) == 9
    # Sums in another order, of which Muon, which orthogonalises in bfloat16, makes more: some
    # percent of the way that the weights went. Other times would lead elsewhere.
    way = distance(whole, train(tmp_path / "first", 1, *shared(4, 1)))
    assert distance(parts, whole) < 0.1 * way
    other = train(tmp_path / "other", 9, *shared(4, 1), "time_sampling.skew=1")
    assert distance(other, whole) > 0.3 * way


def test_a_run_that_ends_between_the_batches_of_a_step_goes_on_before_it(tmp_path, monkeypatch):
    """No checkpoint lacks gradients: after a resumption Lightning would write one half-way."""
    whole = train(tmp_path / "whole", 5, *shared(2, 3))
    train(tmp_path / "parts", 2, *shared(2, 3))
    step = DenoisingModule.training_step

    def stopped(self, batch, batch_idx):
        if self.global_step == 2 and self._last_part == (2, 1):
            raise KeyboardInterrupt
        return step(self, batch, batch_idx)

    monkeypatch.setattr(DenoisingModule, "training_step", stopped)
    settings = [*TINY, *shared(2, 3), f"output={tmp_path / 'parts'}", "trainer.max_steps=5"]
    assert cli.train(settings) == 130
    checkpoint = torch.load(tmp_path / "parts" / "last.ckpt", weights_only=True)
    assert checkpoint["global_step"] == 2
    monkeypatch.undo()
    assert differing(train(tmp_path / "parts", 5, *shared(2, 3)), whole) == []


@pytest.mark.parametrize("reason", ["steps", "time"])
def test_the_end_of_a_training_is_a_checkpoint_too(reason, tmp_path, monkeypatch):
    """After three steps, whenever the next one would be due."""
    rarely = [*FEW, "trainer.checkpoint_every_n_steps=100"]
    whole = train(tmp_path / "whole", 5, *rarely)
    step = DenoisingModule.training_step

    def stopping(self, batch, batch_idx):
        self.trainer.should_stop = self.global_step == 2  # as Lightning's timer does
        return step(self, batch, batch_idx)

    if reason == "time":
        monkeypatch.setattr(DenoisingModule, "training_step", stopping)
    train(tmp_path / "parts", 3 if reason == "steps" else 5, *rarely)
    monkeypatch.undo()
    assert torch.load(tmp_path / "parts" / "last.ckpt", weights_only=True)["global_step"] == 3
    assert differing(train(tmp_path / "parts", 5, *rarely), whole) == []


@pytest.mark.parametrize(
    ("images", "batches", "message"),
    [
        (2, 1, "got 2: 2 (optimizer.batch_size) x 1 (devices of all nodes) x 1 (trainer.accumulate_"
               "grad_batches); give trainer.accumulate_grad_batches=2, or resume=false"),
        (3, 1, "give another optimizer.batch_size, or resume=false"),
        (4, 2, "give trainer.accumulate_grad_batches=1, or resume=false"),
    ],
)  # fmt: skip
def test_another_number_of_images_per_step_is_refused(images, batches, message, tmp_path, capsys):
    weights = train(tmp_path, 1, *shared(4, 1))
    settings = [*TINY, *shared(images, batches), f"output={tmp_path}", "trainer.max_steps=2"]
    assert cli.train(settings) == 2
    error = capsys.readouterr().err
    assert "expected 4 images per step, as in the checkpoint to go on from, got" in error
    assert message in error
    assert error.count("\n") == 1
    assert differing(train(tmp_path, 1, *shared(4, 1)), weights) == []


@pytest.mark.parametrize("what", ["sharing", "settings"])
def test_a_checkpoint_that_does_not_tell_is_refused(what, tmp_path, capsys):
    train(tmp_path, 1, *FEW)
    checkpoint = torch.load(tmp_path / "last.ckpt", weights_only=True)
    del checkpoint[what]
    torch.save(checkpoint, tmp_path / "last.ckpt")
    assert cli.train([*TINY, *FEW, f"output={tmp_path}", "trainer.max_steps=2"]) == 2
    assert "give resume=false, and init=FILE" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("sharing", "smaller"),
    [
        (Sharing(8, 3, 1), Sharing(4, 3, 2)),
        (Sharing(6, 1, 2), Sharing(3, 1, 4)),
        (Sharing(3, 1, 4), Sharing(1, 1, 12)),
        (Sharing(1, 1, 12), None),
    ],
)
def test_smaller_batches_make_the_same_step(sharing, smaller):
    assert sharing.smaller() == smaller
    assert smaller is None or smaller.total == sharing.total


@pytest.mark.parametrize("strategy", ["fsdp", "fsdp_cpu_offload", "deepspeed_stage_2"])
def test_strategies_that_cut_weights_into_pieces_are_refused(strategy, tmp_path, capsys):
    settings = [*TINY, f"output={tmp_path}", f"trainer.strategy={strategy}"]
    assert cli.train(settings) == 2
    error = capsys.readouterr().err
    assert f"expected ddp, got {strategy}, which cuts weights into flat pieces" in error
    assert error.count("\n") == 1


def test_strategies_that_pickle_the_training_are_refused(tmp_path, capsys):
    settings = [*TINY, f"output={tmp_path}", "trainer.strategy=ddp_spawn"]
    assert cli.train(settings) == 2
    assert "expected one of auto, single_device, ddp, ddp_fork" in capsys.readouterr().err


def test_more_processes_than_cores_are_warned_of(tmp_path, monkeypatch):
    """Before they start; here nothing is trained."""
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1, 2}, raising=False)
    monkeypatch.setattr("lightning.Trainer.fit", lambda *_, **__: None)
    for devices in (1, 3):
        train_nothing(tmp_path, f"trainer.devices={devices}")
    with pytest.warns(UserWarning, match="makes 7 processes share 3 CPU cores") as found:
        train_nothing(tmp_path, "trainer.devices=7")
    assert "choose trainer.devices=3" in str(found[0].message)


def train_nothing(output, *settings: str) -> None:
    assert cli.train([*TINY, f"output={output}", "trainer.strategy=ddp", *settings]) == 0
