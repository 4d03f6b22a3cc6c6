"""CT slices in training and reconstruction: batches, sets, metadata, and the command line."""

import itertools

import pytest
import torch

from dicom_trees import write_series
from gnclightning import cli
from gnclightning.build_ldct import build_slice_images, build_slices
from gnclightning.build_prior import build_metadata
from gnclightning.build_training import build_data
from gnclightning.config import load_reconstruct_config, load_train_config
from gnclightning.data.dicom.dataset import CachedSlices
from gnclightning.errors import UserError
from gnclightning.priors import NetworkEnergy, PriorMetadata, from_pretrained, save_pretrained
from gnclightning.sde import VPSDE
from gnclightning.training.data import shuffled
from gnclightning.training.ldct import LDCTDataModule
from run_folders import tiny_network, without_work

PATIENTS = ("C001", "C002", "C004", "C027")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Four patients of five slices each, and a file that is none."""
    folder = tmp_path_factory.mktemp("ldct")
    for patient in PATIENTS:
        write_series(folder / "ct", patient, 5)
    (folder / "ct" / "LICENSE").write_text("no image")
    return folder


def settings(folder, *more):
    return [
        "data.name=ldct",
        f"data.path={folder / 'ct'}",
        f"data.cache={folder / 'cache'}",
        "data.conversion_workers=0",
        "data.size=8",
        "progress=false",
        *more,
    ]


def train_config(folder, *more):
    return load_train_config(None, settings(folder, "data.validation_patients=[C002]", *more))


def stacked(cache, patients):
    return CachedSlices(cache, cache.select(patients)).stack()


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
@pytest.mark.parametrize("workers", [0, 2])
def test_batches_are_the_training_slices_in_the_stated_order(folder, workers):
    config = train_config(folder, f"data.workers={workers}", "optimizer.batch_size=3", "seed=4")
    module = build_data(config)
    cache, _ = build_slices(config.data, False)
    training = stacked(cache, ["C001", "C004"])
    loader = module.train_dataloader()
    assert len(loader) == 3
    assert module.image_shape == (8, 8)
    batches = torch.cat(list(itertools.chain(loader, loader, loader)))
    order = list(itertools.islice(shuffled(10, 4, 0), 27))
    assert sorted(order[:10]) == list(range(10))
    assert torch.equal(batches, training[order])


def test_validation_slices_are_those_of_their_patients(folder):
    config = train_config(folder, "data.validation_count=null")
    cache, split = build_slices(config.data, False)
    module = build_data(config)
    assert split.train == ("C001", "C004")
    assert (split.validation, split.test) == (("C002",), ("C027",))
    assert torch.equal(module.validation_images, stacked(cache, ["C002"]))


@pytest.mark.parametrize(("count", "places"), [(1, [2]), (2, [1, 3]), (5, range(5)), (9, range(5))])
def test_fewer_validation_slices_are_evenly_spaced(folder, count, places):
    config = train_config(folder, f"data.validation_count={count}")
    cache, _ = build_slices(config.data, False)
    expected = stacked(cache, ["C002"])[list(places)]
    assert torch.equal(build_data(config).validation_images, expected)


def test_no_slice_of_a_test_patient_is_trained_or_validated_on(folder):
    config = train_config(folder, "optimizer.batch_size=1")
    cache, _ = build_slices(config.data, False)
    module = build_data(config)
    seen = torch.cat([*module.train_dataloader(), module.validation_images])
    assert len(seen) == 15
    for image in stacked(cache, ["C027"]):
        assert not (seen == image).all((1, 2, 3)).any()


def test_metadata_state_pixel_size_and_hounsfield_units(folder, tmp_path):
    config = train_config(folder)
    metadata = build_metadata(config, build_data(config))
    assert (metadata.pixel_size, metadata.length_unit) == (1.5, "mm")
    assert metadata.intensity_unit == "fraction of 81.36 /m, the attenuation of 3071 HU"
    assert not metadata.symmetric  # nobody lies on his side, or on his head
    assert metadata.training["data"] == "ldct"
    assert metadata.training["range"] == pytest.approx((-20_000 / 19.98, 3071))
    coarse = tmp_path / "ct"
    for patient, spacing in zip("ABCD", (0.5, 1, 2, 3), strict=True):
        write_series(
            coarse, patient, 2, change=lambda d, s=spacing: setattr(d, "PixelSpacing", [s, s])
        )
    more = (f"data.path={coarse}", "data.validation_patients=[D]", "data.intensity=window")
    config = train_config(folder, *more)
    metadata = build_metadata(config, build_data(config))
    assert metadata.pixel_size == 2
    assert metadata.training["pixel_size_range"] == (1, 4)
    assert metadata.training["range"] == (-1000, 1000)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_size": 0}, "batch size of at least 1, got 0"),
        ({"seed": -1}, "seed of at least 0, got -1"),
        ({"validation_count": 0}, "at least 1 validation image, got 0"),
        ({"workers": -1}, "0 or more workers, got -1"),
    ],
)
def test_bad_arguments_of_the_module(folder, change, message):
    cache, split = build_slices(train_config(folder).data, False)
    with pytest.raises(UserError, match=message):
        LDCTDataModule(cache, split, **{"batch_size": 2, **change})


def reconstruct_data(folder, *more):
    data = load_reconstruct_config(None, settings(folder, *more)).data
    return data, build_slice_images(data, False)


def test_slices_to_reconstruct_are_those_of_the_test_patient(folder):
    data, images = reconstruct_data(folder, "data.count=2", "data.start=1")
    cache, _ = build_slices(data, False)
    assert torch.equal(images.images, stacked(cache, ["C027"])[1:3])
    assert images.names == ("C027[1]", "C027[2]")
    assert images.seeds == (1, 2)
    _, everything = reconstruct_data(folder, "data.count=null", "data.split=train")
    assert len(everything) == 10


def test_slices_that_are_not_there(folder):
    with pytest.raises(UserError, match=r"slices 0 to 7 of the test patients \(C027\), got 5"):
        reconstruct_data(folder)
    with pytest.raises(UserError, match=r"the test patients \(none\), got 0 slices: lower"):
        reconstruct_data(folder, "data.test_patients=[]")


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("data.window=[1,2,3]", r"data\.window: expected \[LOW,HIGH\] in HU, got"),
        ("data.window=[5,5]", r"data\.window: expected \[LOW,HIGH\] in HU, got"),
        ("data.test_fraction=0.5", r"data\.test_fraction: expected null where test_patients"),
    ],
)
def test_settings_that_contradict_each_other(folder, setting, message):
    with pytest.raises(UserError, match=message):
        train_config(folder, "data.test_patients=[C027]", setting)


def test_fractions_of_patients_can_be_chosen(folder):
    config = load_train_config(
        None, settings(folder, "data.test_fraction=0.5", "data.validation_fraction=0.2")
    )
    _, split = build_slices(config.data, False)
    assert [len(split.train), len(split.validation), len(split.test)] == [1, 1, 2]


@pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning")  # Lightning, from torch 2.13 on
def test_two_steps_of_training_give_a_prior_with_its_units(folder, tmp_path):
    from gnclightning.build_training import run_training

    config = train_config(
        folder,
        f"output={tmp_path / 'run'}",
        "trainer.max_steps=2",
        "trainer.log_every_n_steps=1",
        "optimizer.batch_size=2",
        "trainer.accelerator=cpu",
        "network.channels=8",
        "network.multipliers=[1]",
        "network.blocks=[1]",
        "reconstruction.every_n_steps=0",
        "logger.mode=disabled",
    )
    run_training(config)
    _, metadata = from_pretrained(tmp_path / "run")
    assert metadata.image_shape == (8, 8)
    assert metadata.pixel_size == 1.5
    assert metadata.training["pixel_size_range"] == [1.5, 1.5]


def test_a_data_set_can_be_pickled_without_its_images(folder):
    import pickle

    cache, _ = build_slices(train_config(folder).data, False)
    slices = CachedSlices(cache, range(4))
    first = slices[0]
    content = pickle.dumps(slices)
    assert len(content) < 2000
    assert torch.equal(pickle.loads(content)[0], first)


def test_slices_of_another_size_are_refused_before_they_are_made(folder, tmp_path, capsys):
    path, cache = tmp_path / "p.safetensors", tmp_path / "cache"
    save_pretrained(NetworkEnergy(VPSDE(), tiny_network()), PriorMetadata((32, 32)), path)
    data = [*settings(folder), f"data.cache={cache}", f"output={tmp_path / 'run'}"]
    assert cli.reconstruct([*data, f"prior.path={path}", "logger.mode=disabled"]) == 2
    assert capsys.readouterr().err.endswith("was trained on, got 8x8: give data.size=32\n")
    assert not cache.exists()


@pytest.mark.parametrize(("more", "fits"), [(["data.intensity=window"], True), ([], False)])
def test_a_prior_of_another_window_is_refused(folder, tmp_path, capsys, monkeypatch, more, fits):
    """The prior was trained on HU from -1000 to 1000; the default is the paper's attenuation."""
    without_work(monkeypatch)
    path = tmp_path / "window.safetensors"
    prior = NetworkEnergy(VPSDE(), tiny_network())
    training = {"range": [-1000.0, 1000.0]}
    save_pretrained(prior, PriorMetadata((8, 8), training=training), path)
    data = [*settings(folder, *more), "data.count=1", f"output={tmp_path / 'run'}"]
    assert cli.reconstruct([*data, f"prior.path={path}", "logger.mode=disabled"]) == (
        0 if fits else 2
    )
    error = capsys.readouterr().err
    wanted = "mapped with data.intensity and data.window, HU=[-1000,1000], as prior.path="
    assert fits or (wanted in error and "got [-1001.001001" in error)
