"""Checkpoints are replaced by whole ones only, and beside the place where they end up."""

import io
import os
import tempfile

import pytest
import torch

from batches import names_in
from gnclightning import cli
from gnclightning.training.checkpoints import WholeCheckpoints
from trainings import TINY, differing, train

FEW = ["reconstruction.every_n_steps=0", "trainer.val_check_interval=100"]


def test_a_run_writes_nothing_outside_of_its_folder(tmp_path, monkeypatch):
    """TMPDIR may be on another file system, from which files are copied and not moved."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "there is none"))
    train(tmp_path / "run", 2, *FEW)
    assert torch.load(tmp_path / "run" / "last.ckpt", weights_only=True)["global_step"] == 2


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError("no space left on device")])
def test_a_checkpoint_that_was_half_written_replaces_none(error, tmp_path, monkeypatch):
    path, save = tmp_path / "last.ckpt", torch.save
    WholeCheckpoints().save_checkpoint({"weights": torch.arange(1000)}, path)
    before = path.read_bytes()

    def half(checkpoint, file):
        buffer = io.BytesIO()
        save(checkpoint, buffer)
        file.write(buffer.getvalue()[:2000])
        file.flush()
        raise error

    monkeypatch.setattr(torch, "save", half)
    with pytest.raises(type(error)):
        WholeCheckpoints().save_checkpoint({"weights": torch.zeros(1000)}, path)
    assert path.read_bytes() == before
    assert names_in(tmp_path) == ["last.ckpt"]


def test_a_run_that_ended_in_the_middle_of_a_checkpoint_goes_on_from_the_one_before(
    tmp_path, monkeypatch
):
    whole = train(tmp_path / "whole", 4, *FEW)
    save = WholeCheckpoints.save_checkpoint

    def stopped(self, checkpoint, path, storage_options=None):
        if checkpoint["global_step"] == 3:
            with monkeypatch.context() as patched:
                patched.setattr(os, "fsync", interrupt)
                save(self, checkpoint, path)
        save(self, checkpoint, path)

    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(WholeCheckpoints, "save_checkpoint", stopped)
    settings = [*TINY, *FEW, f"output={tmp_path / 'parts'}", "trainer.max_steps=4"]
    assert cli.train(settings) == 130
    assert torch.load(tmp_path / "parts" / "last.ckpt", weights_only=True)["global_step"] == 2
    monkeypatch.undo()
    assert differing(train(tmp_path / "parts", 4, *FEW), whole) == []


def test_a_checkpoint_is_on_the_disk_before_it_replaces_another(tmp_path, monkeypatch):
    """Otherwise a machine that loses its power may keep the new name and not the new bytes."""
    path, synced = tmp_path / "last.ckpt", []

    def watched(file):
        synced.append((os.fstat(file).st_size, path.exists()))

    monkeypatch.setattr(os, "fsync", watched)
    WholeCheckpoints().save_checkpoint({"weights": torch.arange(1000)}, path)
    assert synced == [(path.stat().st_size, False)]


def test_what_a_killed_process_left_is_removed(tmp_path):
    (tmp_path / ".last-abc.ckpt").write_bytes(b"half")
    (tmp_path / ".other-abc.ckpt").write_bytes(b"of another")
    WholeCheckpoints().save_checkpoint({}, tmp_path / "last.ckpt")
    assert names_in(tmp_path) == [".other-abc.ckpt", "last.ckpt"]
