"""The page of a study while it runs: who is let in, and what is served as the journal grows."""

from __future__ import annotations

import http.client
import json
import re
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote

import pytest

from tomoatlas.jobs import cli
from tomoatlas.jobs import server as module
from tomoatlas.jobs.exits import Exit
from tomoatlas.jobs.server import LivePage, PageServer, opened_page
from tomoatlas.sweep.executors.local import InlineExecutor
from tomoatlas.sweep.run.driver import run
from tomoatlas.sweep.study import Study, parse_study
from tomoatlas.sweep.study.trial import Trial, TrialResult, TrialStatus

STUDY = """
[study]
name = "live"
[specimen]
kind = "nanocubes"
size = 16
[search]
trials = 2
chemistry_tv_trials = 1
[axes]
"acquisition.chemical_tilts" = [5, 9]
"""


def scored(study: Study, trial: Trial, device: str = "cpu") -> TrialResult:
    return TrialResult(TrialStatus.OK, nrmse=0.5, nrmse_by_element={"Co": 0.5}, seconds=1.0)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("serve") / "out"
    run(parse_study(STUDY), folder, InlineExecutor(scored))
    return folder


@pytest.fixture
def folder(whole, tmp_path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "out"))


Ask = Callable[..., http.client.HTTPResponse]


def asking(server: PageServer) -> Ask:
    """ask(path below the token, method, **headers) is an answer, its body in ``text``."""

    def ask(path="", method="GET", token=None, **headers):
        with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)) as opened:
            at = f"/{server.token if token is None else token}/{path}"
            opened.request(method, at, headers=headers)
            found = opened.getresponse()
            found.text = found.read().decode()
            return found

    return ask


@pytest.fixture(scope="module")
def server(whole, serving) -> Iterator[PageServer]:
    with serving(whole) as found:
        yield found


@pytest.fixture
def ask(server) -> Ask:
    return asking(server)


@pytest.fixture
def ask_own(folder, serving) -> Iterator[Ask]:
    """Of a folder that the test may change."""
    with serving(folder) as found:
        yield asking(found)


def data_of(page: str) -> dict:
    return json.loads(
        page.split('<script id="data" type="application/json">')[1].split("</script")[0]
    )


def test_the_page_is_served_to_who_has_the_address(ask, server):
    page = ask()
    assert page.status == 200
    assert len(data_of(page.text)["trials"]["cell"]) == 2 * (2 + 1 + 1 + 1)
    assert ask("plotly.js").text.startswith("/**")
    assert server.server_address[0] == "127.0.0.1"


@pytest.mark.parametrize("token", ["", "x", "wrong" * 9, "%00", "%C3%A9", "..", "/"])
def test_without_its_token_nobody_is(ask, token):
    for path in ("", "version", "plotly.js"):
        found = ask(path, token=token)
        assert found.status == 403
        assert "cell" not in found.text


def test_bytes_that_are_no_text_are_no_token(server):
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as opened:
        opened.sendall(b"GET /\xff\xfe/ HTTP/1.0\r\nHost: localhost\r\n\r\n")
        assert b" 403 " in opened.recv(100)


def test_a_name_that_leads_here_is_no_way_in(ask):
    for name, status in {
        "evil.example": 403,
        "evil.example:80": 403,
        "localhost.evil.example": 403,
        "127.0.0.1.evil.example:8000": 403,
        "": 403,
        "localhost:9999": 200,  # the other end of ssh -L
        "LOCALHOST": 200,
    }.items():
        assert ask(Host=name).status == status, name


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT", "X"])
def test_nothing_is_taken(ask, method):
    assert ask(method=method).status == 405


@pytest.mark.parametrize(
    "path", ["study.toml", "../study.toml", "%2e%2e/study.toml", "/etc/passwd", "version/x", "\\.."]
)
def test_no_path_leads_to_a_file(ask, path):
    assert ask(path).status == 404


def test_answers_are_not_kept_framed_or_run_elsewhere(ask):
    for found in (ask(), ask("x"), ask(token="x")):
        assert found.headers["Referrer-Policy"] == "no-referrer"
        assert found.headers["X-Content-Type-Options"] == "nosniff"
        assert found.headers["X-Frame-Options"] == "DENY"
        assert found.headers["Server"] == "tomoatlas"
    policy = ask().headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self' 'nonce-" in policy


def test_only_a_change_is_sent_again(ask_own, folder):
    first = ask_own()
    tag = first.headers["ETag"]
    assert ask_own("version").text == tag.strip('"')
    assert (ask_own(**{"If-None-Match": tag}).status, ask_own(method="HEAD").text) == (304, "")
    journal = folder / "trials.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(
        b"".join(lines[:3]) + lines[3][:20]
    )  # the writer is in the middle of a line
    assert ask_own("version").text != tag.strip('"')
    later = ask_own(**{"If-None-Match": tag})
    assert later.status == 200
    assert len(data_of(later.text)["trials"]["cell"]) == 3
    journal.write_bytes(b"".join(lines))
    assert len(data_of(ask_own().text)["trials"]["cell"]) == len(lines)


def test_a_page_that_takes_long_is_not_made_at_every_change(folder, monkeypatch):
    monkeypatch.setattr(module, "SHARE", 1e9)
    page = LivePage(folder)
    before = page.version()
    (folder / "trials.jsonl").write_bytes(b"")
    assert page.version() == before == page.page().tag


def test_another_study_in_the_folder_is_another_page(ask_own, folder):
    before = data_of(ask_own().text)
    study = parse_study(STUDY.replace("[5, 9]", "[5, 9, 18]"))
    run(study, folder, InlineExecutor(scored))
    after = data_of(ask_own().text)
    assert before["live"]["study"] != after["live"]["study"]
    assert len(after["cells"]) == 3


def test_a_folder_that_is_gone_is_said_and_may_come_back(ask_own, folder):
    away = folder.rename(folder.with_name("away"))
    for path in ("", "version"):
        found = ask_own(path)
        assert found.status == 503
        assert "study.toml" in found.text
    away.rename(folder)
    assert ask_own().status == 200


def test_a_run_that_has_no_journal_yet_has_a_page(folder):
    (folder / "trials.jsonl").unlink()
    assert data_of(LivePage(folder).page().body.decode())["trials"]["cell"] == []


def test_what_cannot_be_served_is_one_line(refusal, tmp_path, server, whole):
    (tmp_path / "empty").mkdir()
    assert refusal("serve", tmp_path / "none").source is not None
    assert refusal("serve", tmp_path / "empty").source == tmp_path / "empty"
    error = refusal("serve", whole, "--port", server.port)
    assert (error.key, error.value) == ("--port", server.port)
    assert refusal("serve", whole, "--port", 65536).key == "--port"


def test_a_browser_is_led_by_a_file_of_ones_own(monkeypatch):
    shown: list[str] = []
    seen = threading.Event()
    monkeypatch.setattr(module.webbrowser, "open", lambda url: (shown.append(url), seen.set()))
    with opened_page("http://127.0.0.1:1/secret/", None):
        assert shown == [], "no terminal, no browser"
    with opened_page("http://127.0.0.1:1/secret/", True):
        assert seen.wait(10)
        way = Path(unquote(shown[0].removeprefix("file://")))
        assert "secret" not in shown[0]
        assert "/secret/" in way.read_text()
        assert way.parent.stat().st_mode & 0o077 == 0
    assert not way.exists()


def test_ctrl_c_ends_it_well(whole, monkeypatch, capsys):
    def interrupted(server):
        raise KeyboardInterrupt

    monkeypatch.setattr(PageServer, "serve_forever", interrupted)
    assert cli.main(["serve", str(whole), "--no-open"]) == Exit.DONE
    out, err = capsys.readouterr()
    assert re.fullmatch(r"http://127\.0\.0\.1:[0-9]+/[\w-]{43}/\n", out)
    assert err.count("\n") == 1
