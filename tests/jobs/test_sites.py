"""Sites: shipped, one's own, of a plugin, or a file; listed, printed and copied."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tomoatlas.jobs.batch.sites import PACKAGES, find_site, site_file, site_files
from tomoatlas.jobs.cli import main
from tomoatlas.recon_core.errors import BadInput

SITES = tuple(found.name for found in site_files() if found.origin == "shipped")
SITE = """about = "the group's own cluster"
scheduler = "slurm"
workers_per_node = 7
launch = "srun -n{ranks}"
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a person's own sites."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    folder = tmp_path / "config" / "tomoatlas" / "sites"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Make a distribution with sites."""

    made: list[str] = []

    def installed(name: str, *sites: str, text: str = SITE) -> None:
        site = tmp_path / name
        info = site / f"{name}-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[tomoatlas.sites]\n{name} = {name}_sites\n")
        (site / f"{name}_sites").mkdir()
        (site / f"{name}_sites" / "__init__.py").touch()
        for each in sites:
            (site / f"{name}_sites" / f"{each}.toml").write_text(text)
        monkeypatch.syspath_prepend(str(site))
        sys.modules.pop(f"{name}_sites", None)  # of another test's distribution
        made.append(f"{name}_sites")
        PACKAGES.refresh()

    yield installed
    monkeypatch.undo()
    PACKAGES.refresh()
    for module in made:
        sys.modules.pop(module, None)


def listed(capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    assert main(["sites"]) == 0
    lines = capsys.readouterr().out.splitlines()
    return {line.split()[0]: line for line in lines[:-1]}


def test_the_list_has_every_shipped_site(own, capsys):
    lines = listed(capsys)
    assert tuple(lines) == SITES
    assert "slurm" in lines["perlmutter"]
    assert lines["perlmutter"].endswith("[shipped]")


def test_a_site_is_printed_and_copied_once(own, capsys):
    assert main(["sites", "slurm"]) == 0
    text = capsys.readouterr().out
    copy = own / "ours.toml"
    assert main(["sites", "slurm", "--copy", str(copy)]) == 0
    assert copy.read_text() == text
    copy.write_text(text.replace("workers_per_node = 4", "workers_per_node = 9"))
    assert main(["sites", "slurm", "--copy", str(copy)]) == 2
    assert find_site("ours").workers_per_node == 9
    assert main(["sites", "slurm", "--copy", str(copy), "--force", "-q"]) == 0
    assert find_site("ours").workers_per_node == 4


def test_a_site_of_one_s_own_hides_a_shipped_one_and_says_so(own, capsys):
    (own / "perlmutter.toml").write_text(SITE)
    assert find_site("perlmutter").workers_per_node == 7
    line = listed(capsys)["perlmutter"]
    assert str(own / "perlmutter.toml") in line
    assert "in place of shipped" in line


def test_a_broken_site_of_one_s_own_is_named_and_the_others_are_listed(own, capsys):
    (own / "ours.toml").write_text(SITE.replace("launch", "lunch"))
    lines = listed(capsys)
    assert "did you mean launch" in lines["ours"]
    assert set(SITES) < set(lines)
    with pytest.raises(BadInput) as caught:
        find_site("ours")
    assert (str(caught.value.source), caught.value.key) == (str(own / "ours.toml"), "lunch")


def test_the_sites_of_a_plugin(own, plugin, capsys):
    plugin("lab", "lab_big", "lab_small")
    assert find_site("lab_small").workers_per_node == 7
    assert listed(capsys)["lab_big"].endswith("[lab]")
    argv = ["quickstart", "--site", "lab_big", "--nodes", "1", "--walltime", "1:00:00", "-q"]
    assert main(["script", *argv]) == 0
    assert "srun -n7" in capsys.readouterr().out


@pytest.mark.parametrize("names", [("lab_one", "lab_two"), ("lab_three",)])
def test_plugins_of_one_name_are_both_named(own, plugin, refusal, names):
    site = "shared" if len(names) > 1 else "slurm"
    for name in names:
        plugin(name, site)
    error = refusal("sites")
    assert error.key == "tomoatlas.sites"
    assert site in str(error)
    assert all(name in str(error) for name in names)


def test_an_unknown_site_comes_with_the_nearest(own):
    with pytest.raises(BadInput) as caught:
        site_file("perlmuter")
    assert (caught.value.key, caught.value.value) == ("--site", "perlmuter")
    assert "perlmutter" in caught.value.problem


@pytest.mark.parametrize(("device", "told"), [("auto", "cuda"), ("cuda-half", "cuda-half")])
def test_ranks_of_nodes_with_gpus_are_told_to_use_them(device, told, tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text(f'{SITE}gpus_per_node = 2\ndevice = "{device}"\n')
    assert find_site(str(file)).device == told
    file.write_text(f'{SITE}gpus_per_node = 2\ndevice = "cpu"\n')
    with pytest.raises(BadInput) as caught:
        find_site(str(file))
    assert (caught.value.key, caught.value.value) == ("device", "cpu")


def test_a_gpu_without_a_price_is_refused(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text(f'{SITE}gpus_per_node = 2\ngpu = "GTX"\n')
    with pytest.raises(BadInput) as caught:
        find_site(str(file))
    assert (caught.value.key, caught.value.value) == ("gpu", "GTX")
    file.write_text(f'{SITE}gpus_per_node = 2\ngpu = "H100"\n')
    assert find_site(str(file)).gpu == "H100"


def test_a_path_is_a_site(tmp_path):
    (tmp_path / "mine.toml").write_text(SITE)
    assert find_site(str(tmp_path / "mine.toml")).workers_per_node == 7


@pytest.mark.parametrize("argv", [["--copy", "x.toml"], ["nosuch"], ["slurm", "--copy", "no/x"]])
def test_bad_input_is_one_line(argv, own, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["sites", *argv]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_time_without_quotes_is_named_with_what_is_accepted(tmp_path):
    site = tmp_path / "mine.toml"
    site.write_text('scheduler = "slurm"\nlaunch = 00:30:00\n')
    with pytest.raises(BadInput, match=r"launch = '00:30:00'.*a text in quotes"):
        find_site(str(site))
