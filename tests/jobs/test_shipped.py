from __future__ import annotations

from importlib.resources import files

import pytest

from tomoatlas.jobs import load_study, shipped_names
from tomoatlas.recon_core.errors import BadInput
from tomoatlas.recon_core.methods import Method
from tomoatlas.recon_core.settings import newest_settings

PAPER_SNR = {"Co": 1.92, "Cu": 2.89, "O": 2.69, "Au": 1.96}


@pytest.mark.parametrize("name", shipped_names())
def test_every_shipped_study_is_valid_and_says_what_it_answers(name):
    study = load_study(name)
    assert study.study.name == name
    # All but the maps of doses, which ask for the fused method alone, hold its baselines.
    assert set(study.search.methods) == set(Method) or name.startswith("fixed_dose")
    text = (files("tomoatlas.jobs") / "studies" / f"{name}.toml").read_text(encoding="utf-8")
    head = text.partition("\n[")[0]
    assert all(line.startswith("#") for line in head.splitlines() if line)
    assert "?" in head
    assert f"tomoatlas run {name} --out" in head


def test_the_names():
    assert shipped_names() == (
        "composite_128",
        "composite_256",
        "composite_64",
        "composite_64_seeds",
        "fig4_nanocubes",
        "fig4_nanocubes_128",
        "fig4_nanocubes_64",
        "figs10_composite",
        "figs21_snr",
        "fixed_dose",
        "fixed_dose_64",
        "nanocubes_128",
        "nanocubes_256",
        "nanocubes_64",
        "nanocubes_64_seeds",
        "quickstart",
        "snr_64",
        "snr_64_seeds",
    )


@pytest.mark.parametrize(
    ("name", "size"),
    [("fig4_nanocubes", 256), ("fig4_nanocubes_64", 64)],
)
def test_fig4_is_the_papers_map(name, size):
    study = load_study(name)
    haadf, chemical = study.axes.values()
    assert study.specimen.size == size
    assert (haadf[0], haadf[-1], chemical[0], chemical[-1]) == (0, 141, 5, 71)
    assert min(len(haadf), len(chemical)) >= 8
    assert study.acquisition.chemical_snr == PAPER_SNR
    assert study.acquisition.haadf_snr == 2208.67


def test_the_two_sizes_ask_the_same_cells():
    assert load_study("fig4_nanocubes").axes == load_study("fig4_nanocubes_64").axes


def test_the_coarse_map_at_128_asks_some_of_them() -> None:
    coarse, fine = load_study("fig4_nanocubes_128"), load_study("fig4_nanocubes_64")
    assert coarse.acquisition == fine.acquisition
    assert coarse.specimen.size == 128
    assert all(set(values) <= set(fine.axes[axis]) for axis, values in coarse.axes.items())


def test_snr_study_varies_both_snrs():
    assert list(load_study("figs21_snr").axes) == [
        "acquisition.haadf_snr",
        "acquisition.chemical_snr",
    ]


@pytest.mark.parametrize(
    ("name", "first"),
    [("nanocubes_64", "fig4_nanocubes_64"), ("composite_64", "figs10_composite")],
)
def test_studies_of_the_newest_edition_ask_what_the_first_asked(name: str, first: str) -> None:
    ours, theirs = load_study(name), load_study(first)
    assert ours.axes == theirs.axes
    assert ours.acquisition.chemical_snr == theirs.acquisition.chemical_snr
    assert ours.solver == newest_settings()


def test_a_file_goes_before_a_shipped_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "quickstart").write_text('[study]\nname = "mine"\n[specimen]\nkind = "nanocubes"\n')
    assert load_study("quickstart").study.name == "mine"


def test_an_unknown_name_lists_the_shipped_ones():
    with pytest.raises(BadInput) as refused:
        load_study("quick")
    assert str(refused.value.source) == "quick"
    assert all(name in str(refused.value.accepted) for name in shipped_names())
