"""The page of a study, served while the study runs: to this computer alone, by a random address.

Other people of a login node reach its loopback as well, so every address begins with a random
token. Nothing is read but the study folder's journal, and nothing is written: what is asked for is
one of three names, never a path.
"""

from __future__ import annotations

import gzip
import os
import secrets
import sys
import tempfile
import threading
import time
import webbrowser
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import Message
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from plotly.offline import get_plotlyjs

from ..analysis.atlas import atlas_of
from ..analysis.journal import JournalReader
from ..analysis.report import Live, page_html
from ..recon_core.errors import BadInput, Trouble, from_os_error, printable
from ..sweep.record import StudyFolder

LOOPBACK = "127.0.0.1"

_WAY_IN = """<!DOCTYPE html><meta charset="utf-8"><title>tomoatlas</title>
<meta name="referrer" content="no-referrer"><meta http-equiv="refresh" content="0;url={address}">
<a href="{address}">The report</a>
"""

HOSTS = (LOOPBACK, "localhost")
"""Names that a browser may know this computer by. A site of the internet whose own name is made to
lead here, which is DNS rebinding, sends that name. Any port will do: ``ssh -L`` has another.
"""

SHARE = 5.0
"""Times as long as a page takes that passes before the next is made: the cores are the run's."""

PATIENCE_S = 10.0
"""For a client that does not say what it wants."""

_METHODS = ("GET", "HEAD")

_WHOLE = 4096
"""Bytes from which an answer is compressed: a page may come through ``ssh``."""

_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # The address holds the token.
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
_POLICY = (
    "default-src 'none'; script-src 'self' 'nonce-{nonce}'; style-src 'unsafe-inline'; "
    "img-src data: blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)


@dataclass(frozen=True)
class Answer:
    """What is sent for an address.

    Parameters
    ----------
    body : its bytes.
    kind : their media type.
    tag : that a browser names to be sent them only if they have changed.
    kept : whether the browser may keep them without asking again.
    nonce : of the scripts that stand in a page; empty for what is none.
    """

    body: bytes
    kind: str
    tag: str
    kept: bool = False
    nonce: str = ""


def _version_answer(version: str) -> Answer:
    return Answer(version.encode(), "text/plain", version)


class LivePage:
    """The page of a study as its journal stands, made when it is asked for and has changed.

    Safe for several threads: one makes a page, the others wait for it.

    Parameters
    ----------
    folder : the study folder, or that of a shipped atlas.

    Raises
    ------
    BadInput : not the folder of a study.
    Trouble : it cannot be read now.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._reader = JournalReader(folder)
        self._made, self._next = "", 0.0
        self._answer = self._page(self._version())

    def version(self) -> str:
        """That of the page that :meth:`page` would return now; cheap, for many asking often."""
        with self._lock:
            return self._made if time.monotonic() < self._next else self._version()

    def page(self) -> Answer:
        """The page, with all that the journal holds by now unless the last has just been made."""
        with self._lock:
            if time.monotonic() >= self._next and self._version() != self._made:
                self._answer = self._page(self._version())
            return self._answer

    def _study(self) -> int:
        return StudyFolder(self._folder).study_file.stat().st_mtime_ns

    def _version(self) -> str:
        """Of both files: a later run may have more axes or trials, and then all is read again."""
        try:
            journal = StudyFolder(self._folder).journal_file.stat()
            grown = f"{journal.st_size}-{journal.st_mtime_ns}"
        except FileNotFoundError:
            grown = "0"  # a run that has just begun
        return f"{self._study()}-{grown}"

    def _page(self, version: str) -> Answer:
        began = time.monotonic()
        if self._made.partition("-")[0] != version.partition("-")[0]:
            self._reader = JournalReader(self._folder)
        self._reader.read()
        live = Live(version, self._study(), secrets.token_urlsafe(16))
        atlas = atlas_of(self._folder, self._reader.trials)
        notes = (f"{note}." for note in [self._reader.revision_note] if note)
        body = page_html(self._folder, self._reader, atlas, tuple(notes), live).encode()
        ended = time.monotonic()
        self._made, self._next = version, ended + SHARE * (ended - began)
        return Answer(body, "text/html; charset=utf-8", version, nonce=live.nonce)


class Handler(BaseHTTPRequestHandler):
    """Answers one request of a :class:`PageServer`."""

    server: PageServer
    timeout = PATIENCE_S

    def parse_request(self) -> bool:
        """Read the request, and refuse what is not to be answered before anything of it is used."""
        if not super().parse_request():
            return False
        refused = self._refusal()
        if refused is not None:
            self.send_error(refused)
        return refused is None

    def _refusal(self) -> HTTPStatus | None:
        headers: Message = self.headers
        host = headers.get("Host", "").lower()
        name = host.rpartition(":")[0] or host
        token = self.path.split("/")[1] if self.path.startswith("/") else ""
        # Of bytes: a text that is not ASCII has no comparison of constant time.
        known = secrets.compare_digest(token.encode(), self.server.token.encode())
        if name not in HOSTS or not known:
            return HTTPStatus.FORBIDDEN
        return None if self.command in _METHODS else HTTPStatus.METHOD_NOT_ALLOWED

    def do_GET(self) -> None:
        """Answer with the page, its version, or the library that draws it."""
        _, _, *below = self.path.partition("?")[0].split("/", 2)
        find = self.server.answers.get(below[0]) if below else None
        if find is None:
            # An address copied without its last stroke is one of the page.
            return self._send_home() if not below else self.send_error(HTTPStatus.NOT_FOUND)
        try:
            answer = find()
        except OSError as error:
            return self._unavailable(from_os_error(error, source=error.filename or "the study"))
        except (BadInput, Trouble) as error:
            return self._unavailable(error)
        return self._send(answer)

    do_HEAD = do_GET

    def _send_home(self) -> None:
        self.send_response(HTTPStatus.PERMANENT_REDIRECT)
        self.send_header("Location", f"/{self.server.token}/")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _send(self, answer: Answer) -> None:
        tag = f'"{answer.tag}"'
        same = self.headers.get("If-None-Match") == tag
        zipped = "gzip" in self.headers.get("Accept-Encoding", "") and len(answer.body) > _WHOLE
        body = gzip.compress(answer.body, 1, mtime=0) if zipped and not same else answer.body
        self.send_response(HTTPStatus.NOT_MODIFIED if same else HTTPStatus.OK)
        self.send_header("ETag", tag)
        self.send_header("Cache-Control", "private, max-age=86400" if answer.kept else "no-cache")
        if answer.nonce:
            self.send_header("Content-Security-Policy", _POLICY.format(nonce=answer.nonce))
        if not same:
            self.send_header("Content-Type", answer.kind)
            self.send_header("Vary", "Accept-Encoding")
            if zipped:
                self.send_header("Content-Encoding", "gzip")
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if not same and self.command == "GET":
            self.wfile.write(body)

    def _unavailable(self, error: BadInput | Trouble) -> None:
        """Report a folder that is gone or cannot be read; it may be back for the next request."""
        # The reason stands in the status line, which holds no more than Latin-1.
        line = printable(str(error)).encode("ascii", "replace").decode()
        self.send_error(HTTPStatus.SERVICE_UNAVAILABLE, line)

    def end_headers(self) -> None:
        """End the headers with those of every answer, errors too."""
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        super().end_headers()

    def version_string(self) -> str:
        """The name of this server, without the versions of what it is made of."""
        return "tomoatlas"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as it is called
        """Log nothing: every address holds the token."""


class PageServer(ThreadingHTTPServer):
    """The page of a study on this computer's loopback.

    Parameters
    ----------
    folder : the study folder.
    port : where to listen; 0 for any that is free.

    Raises
    ------
    BadInput : not the folder of a study, or a port that cannot be had.
    """

    daemon_threads = True

    def __init__(self, folder: Path, port: int) -> None:
        page, script = LivePage(folder), get_plotlyjs().encode()
        self.token = secrets.token_urlsafe(32)
        plotly = Answer(script, "text/javascript; charset=utf-8", str(len(script)), kept=True)
        self.answers: dict[str, Callable[[], Answer]] = {
            "": page.page,
            "version": lambda: _version_answer(page.version()),
            "plotly.js": lambda: plotly,
        }
        try:
            super().__init__((LOOPBACK, port), Handler)
        except OSError as error:
            problem = f"cannot be had: {error.strerror}"
            accepted = "a free port, as the one chosen without --port"
            raise BadInput(problem, key="--port", value=port, accepted=accepted) from error

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.server_address[1])

    @property
    def address(self) -> str:
        """The address of the page, token included."""
        return f"http://{LOOPBACK}:{self.port}/{self.token}/"

    def handle_error(self, request: object, client_address: object) -> None:
        """A reader that has left in the middle of an answer is no trouble; nothing is printed."""


@contextmanager
def opened_page(address: str, show: bool | None) -> Iterator[None]:
    """Open a page in a browser, and inside the block leave it the file that leads there.

    Everybody on this computer can list the arguments of a browser's process: they name a file that
    only its owner reads, and that holds the address.

    Parameters
    ----------
    address : of the page.
    show : whether to; None where a person is at a desktop.
    """
    if not (_at_desktop() if show is None else show):
        yield
        return
    with tempfile.TemporaryDirectory(prefix="tomoatlas-") as folder:
        way = Path(folder) / "report.html"  # the folder is its owner's alone
        way.write_text(_WAY_IN.format(address=address), encoding="utf-8")
        # A browser may stay in the foreground.
        threading.Thread(target=webbrowser.open, args=(way.as_uri(),), daemon=True).start()
        yield


def _at_desktop() -> bool:
    """Whether a browser would have a window: one that runs in the terminal would take it over."""
    screen = sys.platform == "darwin" or any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY")))
    return screen and sys.stdout.isatty() and "SSH_CONNECTION" not in os.environ
