"""Lightning data modules: streams of phantoms, folders, and where they go on after a stop."""

import itertools
import multiprocessing
from types import SimpleNamespace

import lightning
import numpy as np
import pytest
import torch

from gnclightning.data.ellipses import phantoms
from gnclightning.errors import UserError
from gnclightning.training.data import EllipsesDataModule, FolderDataModule


def ellipses_module(workers=0):
    return EllipsesDataModule(4, 10, 5, size=8, workers=workers, seed=6)


def numbered(count):
    """Images (count, 4, 5) of which the first pixel tells which it is."""
    stack = np.tile(np.linspace(0, 1, 20, dtype=np.float32).reshape(4, 5), (count, 1, 1))
    stack[:, 0, 0] = (np.arange(count) + 1) / 128
    return stack


def folder_module(tmp_path, count=11, **arguments):
    np.save(tmp_path / "images.npy", numbered(count))
    return FolderDataModule(tmp_path / "images.npy", 3, **arguments)


def numbers(batches):
    """Which of `ramps` the batches hold, in order."""
    return [round(128 * image[0, 0, 0].item()) - 1 for batch in batches for image in batch]


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
@pytest.mark.parametrize("workers", [0, 2])
def test_phantoms_stream_on_from_epoch_to_epoch(workers):
    module = ellipses_module(workers)
    loader = module.train_dataloader()
    assert len(loader) == 2
    assert module.image_shape == (8, 8)
    epochs = [torch.cat(list(loader)) for _ in range(3)]
    np.testing.assert_array_equal(torch.cat(epochs), phantoms(range(24), 6, "train", 8))


def test_validation_phantoms_stay():
    loader = ellipses_module().val_dataloader()
    assert len(loader) == 2
    expected = phantoms(range(5), 6, "validation", 8)
    for _ in range(2):
        batches = list(loader)
        assert [len(batch) for batch in batches] == [4, 1]
        np.testing.assert_array_equal(torch.cat(batches), expected)


def test_a_folder_is_split_by_index_and_shuffled_in_each_pass(tmp_path):
    module = folder_module(tmp_path, validation_fraction=0.2)
    assert module.image_shape == (4, 5)
    assert numbers(module.val_dataloader()) == [9, 10]
    loader = module.train_dataloader()
    assert len(loader) == 3
    passes = [numbers(loader) for _ in range(4)]
    assert all(sorted(order) == list(range(9)) for order in passes)
    assert len({tuple(order) for order in passes}) == 4
    assert [numbers(folder_module(tmp_path, validation_fraction=0.2).train_dataloader())] == (
        passes[:1]
    )
    other = folder_module(tmp_path, validation_fraction=0.2, seed=1)
    assert numbers(other.train_dataloader()) != passes[0]


@pytest.mark.parametrize(
    ("lengths", "fraction", "validation"),
    [
        ([10, 10, 10], 0.1, range(20, 30)),
        ([10, 10, 10], 0.5, range(10, 30)),
        ([12, 6, 2, 1], 0.14, range(18, 21)),
        ([2, 28], 0.1, range(2, 30)),
        ([30], 0.1, range(27, 30)),
        ([1] * 10, 0.3, range(7, 10)),
    ],
)
def test_files_are_not_divided_between_training_and_validation(
    tmp_path, lengths, fraction, validation
):
    """They may be volumes, of one patient each; of a single file the last images validate."""
    ends = np.cumsum(lengths)
    for number, part in enumerate(np.split(numbered(ends[-1]), ends[:-1])):
        array = part[0] if len(part) == 1 else part
        np.save(tmp_path / f"patient[{number}].npy", array)
    module = FolderDataModule(tmp_path, 1, fraction)
    assert numbers(module.val_dataloader()) == list(validation)
    assert sorted(numbers(module.train_dataloader())) == list(range(validation[0]))


def test_epochs_of_whole_batches_leave_no_image_out(tmp_path):
    """Ten images in batches of three: what an epoch has left begins the next one."""
    loader = folder_module(tmp_path).train_dataloader()
    stream = [number for _ in range(10) for number in numbers(loader)]
    assert len(stream) == 90
    for start in range(0, 90, 10):
        assert sorted(stream[start : start + 10]) == list(range(10))


def test_a_batch_may_be_larger_than_the_folder(tmp_path):
    loader = folder_module(tmp_path, count=3).train_dataloader()
    assert len(loader) == 1
    order = numbers(itertools.chain(loader, loader))
    assert [sorted(order[i : i + 2]) for i in (0, 2, 4)] == [[0, 1]] * 3


def test_devices_share_the_stream_without_overlap(tmp_path):
    """Step k of two devices sees what steps 2k and 2k + 1 of one device see."""
    write_numbered = folder_module(tmp_path)
    expected = numbers(write_numbered.train_dataloader())
    dealt = []
    for rank in range(2):
        stream = folder_module(tmp_path).train_dataloader()
        stream.deal(rank, 2)
        dealt.append(numbers(stream))
        # A pass is as many images as on one device, however many share them.
        assert len(stream) == len(expected) // write_numbered.batch_size // 2
    size = write_numbered.batch_size
    count = len(expected) // size // 2 * 2
    merged = [
        n
        for k in range(0, count // 2)
        for rank in range(2)
        for n in dealt[rank][k * size : (k + 1) * size]
    ]
    assert merged == expected[: count * size]


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_batches_for_a_gpu_are_in_pinned_memory(device, monkeypatch):
    """Asked of PyTorch's loader, as no memory can be pinned without a GPU."""
    asked = []

    def watched(*_, pin_memory, **__):
        asked.append(pin_memory)
        return ()

    monkeypatch.setattr("gnclightning.training.data.DataLoader", watched)
    module = ellipses_module()
    module.trainer = SimpleNamespace(
        global_rank=0,
        world_size=1,
        accumulate_grad_batches=1,
        strategy=SimpleNamespace(root_device=torch.device(device)),
    )
    assert list(module.train_dataloader()) == []
    assert asked == [device == "cuda"]


def test_a_restored_stream_goes_on_where_it_was(tmp_path):
    whole = folder_module(tmp_path).train_dataloader()
    expected = numbers(itertools.chain(whole, whole))
    broken = folder_module(tmp_path).train_dataloader()
    given = numbers(itertools.islice(broken, 2))
    resumed = folder_module(tmp_path).train_dataloader()
    resumed.load_state_dict(broken.state_dict())
    assert given + numbers(resumed) == expected[:15]


class Recorder(lightning.LightningModule):
    """Keeps the batches that it is trained on, and saves a checkpoint after each."""

    def __init__(self, folder):
        super().__init__()
        self.folder = folder
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.training_batches = []
        self.validation_batches = []

    def training_step(self, batch, _):
        self.training_batches.append(batch)
        return self.weight * batch.mean()

    def validation_step(self, batch, _):
        self.validation_batches.append(batch)

    def on_train_batch_end(self, *_):
        self.trainer.save_checkpoint(self.folder / f"{self.global_step}.ckpt")

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fit(folder, module, max_steps, resume=None):
    recorder = Recorder(folder)
    trainer = lightning.Trainer(
        accelerator="cpu",
        max_epochs=-1,
        max_steps=max_steps,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        enable_checkpointing=False,
    )
    trainer.fit(recorder, datamodule=module, ckpt_path=resume)
    return recorder


@pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning")  # Lightning, from torch 2.13 on
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
@pytest.mark.parametrize(("workers", "stop"), [(0, 5), (2, 3), (0, 4)])
def test_interrupted_training_sees_the_same_batches(tmp_path, workers, stop):
    """Two batches per epoch: steps 3 and 5 end within an epoch, step 4 between epochs."""
    whole = fit(tmp_path, ellipses_module(), 6)
    batches = torch.cat(whole.training_batches)
    np.testing.assert_array_equal(batches, phantoms(range(24), 6, "train", 8))
    validated = torch.cat(whole.validation_batches)
    np.testing.assert_array_equal(
        validated, np.tile(phantoms(range(5), 6, "validation", 8), (3, 1, 1, 1))
    )

    checkpoint = tmp_path / f"{stop}.ckpt"
    resumed = fit(tmp_path, ellipses_module(workers), 6, checkpoint)
    assert not multiprocessing.active_children()
    assert len(resumed.training_batches) == 6 - stop
    assert torch.equal(torch.cat(resumed.training_batches), batches[4 * stop :])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_size": 0}, "batch size of at least 1, got 0"),
        ({"workers": -1}, "0 or more workers, got -1"),
        ({"train_count": 0}, "at least 1 training phantom, got 0"),
        ({"validation_count": 0}, "at least 1 validation phantom, got 0"),
        ({"size": 2}, "at least 3 pixels a side"),
        ({"seed": -1}, "seed of at least 0, got -1"),
    ],
)
def test_bad_arguments_of_the_phantoms_module(change, message):
    arguments = {"batch_size": 2, "train_count": 4, "validation_count": 2, "size": 8, **change}
    with pytest.raises(UserError, match=message):
        EllipsesDataModule(**arguments)


@pytest.mark.parametrize(
    ("count", "change", "message"),
    [
        (4, {"validation_fraction": 0.0}, "fraction between 0 and 1, got 0"),
        (4, {"validation_fraction": 1.0}, "fraction between 0 and 1, got 1"),
        (4, {"seed": -2}, "seed of at least 0, got -2"),
        (4, {"workers": -1}, "0 or more workers"),
        (1, {}, "images for training and validation in .*, got 1 for a validation fraction of 0.1"),
        (3, {"validation_fraction": 0.9}, "got 3 for a validation fraction of 0.9"),
    ],
)
def test_bad_arguments_of_the_folder_module(tmp_path, count, change, message):
    with pytest.raises(UserError, match=message):
        folder_module(tmp_path, count, **change)
