"""The corpus in a training loop."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from fakes import Scenes, lonlat, points_file

from s1s2 import Corpus, load, show
from s1s2.bands import OPTICAL, RADAR, S2_10M, S2_20M
from s1s2.cli import main
from s1s2.errors import ContractError, StoreError
from s1s2.loader.finish import Values, View, finish, plan

torch = pytest.importorskip("torch", reason="torch is not installed: pip install 's1s2[torch]'")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus of 16 chips in two zones, cells of several splits, shards of 5."""
    root = tmp_path_factory.mktemp("load")
    scenes = Scenes(root / "catalog")
    places = []
    for number, (epsg, tile) in enumerate([(32631, "31TFK"), (32633, "33TFK"), (32640, "40TFK")]):
        scenes.s2(epsg=epsg, tile=tile, size_m=12_000, baseline="05.00" if number else "03.01")
        scenes.s1(epsg=epsg, size_m=14_000, slice_number=number)
        places += [lonlat(501_500 + 1_700 * i, 4_998_000 - 1_700 * i, epsg) for i in range(6)]
    recipe = root / "recipe.toml"
    recipe.write_text(
        "[store]\nchips_per_shard = 5\n[sample]\nval_percent = 30\ntest_percent = 0\n"
    )
    assert (
        main(
            [
                "build",
                str(recipe),
                "--catalog",
                str(scenes.save()),
                "--points",
                str(points_file(root / "p.geojson", places)),
                "--start",
                "2021-07-01",
                "--end",
                "2021-07-02",
                "--chip-size",
                "64",
                "-n",
                "16",
                "-o",
                str(root / "out"),
            ]
        )
        == 0
    )
    return root / "out"


@pytest.fixture
def corpus(folder: Path) -> Corpus:
    return Corpus(folder)


def test_what_a_corpus_says(corpus: Corpus) -> None:
    assert len(corpus) == 16
    assert "chips=16" in repr(corpus)
    assert list(corpus.index["chip"]) == list(range(16))
    assert corpus.index.crs.to_epsg() == 4326
    assert {"train", "val"} == set(corpus.index["split"]), "the fixture has both"


def test_batches_are_reflectance_and_decibels(corpus: Corpus) -> None:
    batch = next(iter(corpus.loader(batch_size=4)))
    assert batch["s2"].shape == (4, 12, 64, 64)
    assert batch["s1"].shape == (4, 2, 64, 64)
    assert batch["chip"].tolist() == [0, 1, 2, 3]
    assert batch["s2"].dtype == batch["s1"].dtype == torch.float32
    stored = corpus.read(2)
    for row, band in enumerate(OPTICAL):
        if band in S2_10M:
            wanted = stored["s2_10m"][S2_10M.index(band)]
        else:
            wanted = np.kron(stored["s2_20m"][S2_20M.index(band)], np.ones((2, 2), np.uint16))
        np.testing.assert_allclose(batch["s2"][2, row], wanted / 1e4, rtol=1e-6)
    np.testing.assert_allclose(batch["s1"][2], stored["s1"] / 100, rtol=1e-5)


def test_raw_batches_are_the_stored_numbers(corpus: Corpus) -> None:
    batch = next(iter(corpus.loader(batch_size=2, values="raw")))
    assert batch["s2"].dtype == torch.uint16
    assert batch["s1"].dtype == torch.int16
    np.testing.assert_array_equal(batch["s1"][1].numpy(), corpus.read(1)["s1"])


def test_normalised_by_the_train_splits_own_statistics(corpus: Corpus) -> None:
    batches = list(corpus.loader(batch_size=5, split="train", values="normalised"))
    for key in ("s2", "s1"):
        values = torch.cat([b[key] for b in batches]).double()
        assert values.mean(dim=(0, 2, 3)).abs().max() < 1e-4
        assert (values.std(dim=(0, 2, 3)) - 1).abs().max() < 1e-3
    train = corpus.index[corpus.index["split"] == "train"]
    pixels = np.stack([corpus.read(c)["s2_10m"][0] for c in train["chip"]]).astype(np.float64)
    said = corpus.about["statistics"]["B02"]
    assert said["mean"] == pytest.approx(pixels.mean(), rel=1e-12)
    assert said["std"] == pytest.approx(pixels.std(), rel=1e-12)
    assert said["count"] == pixels.size


def test_splits_are_disjoint_and_whole(corpus: Corpus) -> None:
    found = [set(corpus.chips(split).tolist()) for split in ("train", "val")]
    assert found[0] | found[1] == set(range(16))
    assert not found[0] & found[1]
    by_loader = torch.cat([b["chip"] for b in corpus.loader(batch_size=3, split="val")])
    assert set(by_loader.tolist()) == found[1]


def test_shuffling_is_seeded_and_changes_with_the_epoch(corpus: Corpus) -> None:
    def order(loader: object) -> list[int]:
        return torch.cat([b["chip"] for b in loader]).tolist()  # type: ignore[attr-defined]

    one, two = (corpus.loader(batch_size=4, shuffle=True, seed=3) for _ in range(2))
    first, second = order(one), order(one)
    assert sorted(first) == list(range(16))
    assert first != second
    assert [first, second] == [order(two), order(two)]
    assert order(corpus.loader(batch_size=4, shuffle=True, seed=4)) != first


@pytest.mark.parametrize("start", ["fork", "forkserver", "spawn"])
def test_torchs_own_loader_gives_the_same_batches(corpus: Corpus, start: str) -> None:
    from torch.utils.data import DataLoader

    dataset = corpus.dataset()
    dataset[0]  # the parent has read before it forks
    here = list(corpus.loader(batch_size=4))
    there = DataLoader(dataset, batch_size=4, num_workers=1, multiprocessing_context=start)
    for one, other in zip(here, there, strict=True):
        assert all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.filterwarnings("ignore:'set_vital' is deprecated")  # torchdata 0.11 calls it
def test_torchdata_keeps_its_place_with_our_orders(corpus: Corpus) -> None:
    from torchdata.stateful_dataloader import StatefulDataLoader

    def made(workers: int) -> StatefulDataLoader:
        dataset = corpus.dataset(values="raw")
        sampler = corpus.batch_sampler(dataset, 3, shuffle=True, seed=2)
        return StatefulDataLoader(dataset, batch_sampler=sampler, num_workers=workers)

    for workers in (0, 1):
        whole = made(workers)
        begun = iter(whole)
        had = [next(begun)["chip"].tolist() for _ in range(2)]
        state = whole.state_dict()
        rest = [batch["chip"].tolist() for batch in begun]
        after = made(workers)
        after.load_state_dict(state)
        assert [batch["chip"].tolist() for batch in after] == rest
        assert sorted(chip for batch in had + rest for chip in batch) == list(range(16))
        ours = corpus.loader(3, shuffle=True, seed=2, values="raw")
        assert [batch["chip"].tolist() for batch in ours] == had + rest


def test_filters_weights_and_pairs(corpus: Corpus) -> None:
    west = corpus.chips(where="lon < 10")
    assert 0 < len(west) < 16
    assert corpus.chips(bbox=(-180, -90, 10, 90)).tolist() == west.tolist()
    with pytest.raises(ContractError, match="none of 16 chips is as asked for"):
        corpus.chips(season="winter")
    alone = np.zeros(16)
    alone[5] = 1
    batches = corpus.loader(8, shuffle=True, weights=alone, values="raw")
    assert {int(c) for batch in batches for c in batch["chip"]} == {5}
    assert len(list(corpus.loader(8, weights="lag_hours", values="raw"))) == 2
    pairs = corpus.pairs(3, chips=west)
    for batch in corpus.loader(2, chips=pairs, values="raw"):
        one, other = batch["s1"]
        assert one.shape == other.shape == (len(one), 2, 64, 64)
        assert [p for p in batch["chip"].T.tolist() if p not in pairs.tolist()] == []
    for wrong in ({"weights": "luck"}, {"chips": [99]}, {"chips": []}, {"shuffle": "sorted"}):
        with pytest.raises(ContractError, match=r"luck|no chip 99|an array of|shuffle 'sorted'"):
            corpus.loader(2, **wrong)


def test_chips_that_are_no_numbers_of_chips_are_refused(corpus: Corpus) -> None:
    """A mask is an array of 0 and 1: read as numbers it would be two chips, many times."""
    for wrong, says in (
        (np.arange(16) % 2 == 0, "an array of bool, shape"),
        (np.array([0.5, 1.0]), "an array of float64, shape"),
        ([[[0]]], r"int64, shape \(1, 1, 1\)"),
        ([], r"float64, shape \(0,\)"),
        ([3, 99], "no chip 99"),
    ):
        with pytest.raises(ContractError, match=says):
            corpus.loader(chips=wrong)
    with pytest.raises(ContractError, match="pairs of them are for loader"):
        corpus.dataset(chips=[[0, 1], [2, 3]])
    with pytest.raises(ContractError, match="weights: expected numbers"):
        corpus.loader(weights="s2_id")


def test_a_loader_reads_on_where_its_program_changed_its_folder(
    corpus: Corpus, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(corpus.folder.root.parent)
    with Corpus("out").loader(4) as loader:
        monkeypatch.chdir(tmp_path)
        assert sum(len(batch["chip"]) for batch in loader) == 16


def test_ranks_are_those_of_torch_distributed(corpus: Corpus, tmp_path: Path) -> None:
    from torch import distributed

    distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path}/meet", rank=0, world_size=1
    )
    try:
        assert len(corpus.loader(4)) == 4
    finally:
        distributed.destroy_process_group()
    shares = [corpus.loader(3, ranks=load.Ranks(rank, 2), values="raw") for rank in range(2)]
    seen = [int(c) for share in shares for batch in share for c in batch["chip"]]
    assert sorted(seen) == list(range(16))


def test_a_dataset_travels_between_processes(corpus: Corpus) -> None:
    dataset = corpus.dataset()
    dataset[0]
    copied = pickle.loads(pickle.dumps(dataset))
    assert torch.equal(copied[3]["s2"], dataset[3]["s2"])


def test_one_training_step(corpus: Corpus) -> None:
    model = torch.nn.Conv2d(14, 4, 3)
    for batch in corpus.loader(batch_size=8, shuffle=True, split="train", values="normalised"):
        loss = model(torch.cat([batch["s2"], batch["s1"]], dim=1)).square().mean()
        loss.backward()
        assert torch.isfinite(loss)


def _finished(values: Values, stored: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    statistics = {str(b): {"mean": 50.0, "std": 4.0} for b in (*OPTICAL, *RADAR)}
    wanted = plan(View(values), 4, statistics)
    out = {o.key: np.full(o.shape, 9, o.dtype) for o in wanted.outputs}
    finish(wanted, stored, out)
    return out["s2"], out["s1"]


def test_invalid_pixels_are_nan_or_the_mean_and_never_numbers() -> None:
    stored = {
        "s2_10m": np.full((4, 4, 4), 1000, np.uint16),
        "s2_20m": np.full((8, 2, 2), 1000, np.uint16),
        "s1": np.full((2, 4, 4), -1000, np.int16),
        "scl": np.full((2, 2), 4, np.uint8),
    }
    stored["s2_10m"][:, 0, 0] = 0
    stored["s1"][0, 1, 1] = -32768
    s2, s1 = _finished("physical", stored)
    assert np.isnan(s2[1, 0, 0])
    assert np.isnan(s1[0, 1, 1])
    assert np.isnan(s1).sum() == 1
    s2, s1 = _finished("normalised", stored)
    assert s2[1, 0, 0] == 0
    assert s1[0, 1, 1] == 0
    assert np.isfinite(s2).all()


def test_what_is_not_there_is_said(corpus: Corpus, tmp_path: Path) -> None:
    with pytest.raises(ContractError, match=r"split 'test' has no chips \(train"):
        corpus.loader(split="test")
    with pytest.raises(ContractError, match="split 'trian': expected one of train, val, test"):
        corpus.loader(split="trian")
    with pytest.raises(ContractError, match="values 'dB': expected one of physical"):
        corpus.loader(values="dB")  # type: ignore[arg-type]
    with pytest.raises(StoreError, match="no chip 99"):
        corpus.read(99)
    with pytest.raises(StoreError, match="holds no corpus"):
        Corpus(tmp_path)


def test_without_train_chips_there_is_nothing_to_normalise_by(corpus: Corpus) -> None:
    corpus.about["statistics"]["B02"] = None
    with pytest.raises(ContractError, match="no chip is in the train split"):
        corpus.loader(values="normalised")


def test_a_chip_as_a_geotiff(corpus: Corpus, tmp_path: Path) -> None:
    import rasterio

    chip = corpus.to_xarray(7)
    chip["s1"].rio.to_raster(tmp_path / "s1.tif")
    row = corpus.index.iloc[7]
    with rasterio.open(tmp_path / "s1.tif") as file:
        assert file.crs.to_epsg() == row["epsg"]
        assert list(file.transform)[:6] == list(row["transform"])
        np.testing.assert_allclose(file.read(), corpus.read(7)["s1"] / 100, rtol=1e-5)
        assert file.descriptions == ("VV", "VH")
        assert np.isnan(file.nodata)
    assert chip["s2"].dims == ("band", "y", "x")
    assert float(chip["y"][0]) == row["transform"][5] - 5


def test_pictures(corpus: Corpus, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", str(folder), "--chips", "0,15", "-o", str(folder.parent / "p.png")]) == 0
    assert "16 of 64 px" in capsys.readouterr().out
    image = show.draw_pairs(corpus, [0, 15])
    assert image.size[0] == 3 * 192 + 4 * 8, "small chips are drawn larger"
    assert main(["show", str(folder), "--chips", "16"]) == 2
    assert "no chip 16; the corpus has 0 to 15" in capsys.readouterr().err
