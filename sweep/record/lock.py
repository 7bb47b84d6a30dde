"""One run on a folder at a time: the system's lock on the journal, and a lock file beside it.

The system's lock ends with its process, however that dies, but some file systems have none, and on
others it holds on one node only. The lock file names its holder, and its time of change is the
holder's sign of life. Times are compared with those that the same file system gives to a file made
now: clocks of two nodes never meet. That clock may be set anew as well, so an old sign alone is no
death: a lock is taken from its holder only when it was seen to stay as it is.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from ...recon_core.errors import BadInput, Trouble, from_os_error, needed

LOOK_SECONDS = 1.0
"""Time between two attempts to take the lock, seconds."""

BEAT_SECONDS = 10.0
"""Time between two signs of life of the holder, seconds."""

DEAD_SECONDS = 60.0
"""A holder on another node without a sign of life for so long is dead, seconds."""

WATCHED_SECONDS = 2 * BEAT_SECONDS
"""For which an old sign of life must be seen not to be renewed, seconds."""

JOB_VARIABLES = ("SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID", "COBALT_JOBID", "JOB_ID")
ONE = "one run on a folder at a time"
OF_ANOTHER_NODE = (
    f"{ONE}; one that has died gives way {DEAD_SECONDS:.0f} s after its last sign of life"
)


@dataclass(frozen=True)
class Holder:
    """Who holds a lock file.

    Parameters
    ----------
    token : of this very hold, unlike any other.
    host : name of the node.
    process : its number.
    job : of the scheduler; empty outside of one.
    namespace : where the process number means something: boot of the node and container.
    began : of the process, in the system's ticks since the boot: process numbers are used again.
    """

    token: str = ""
    host: str = ""
    process: int = 0
    job: str = ""
    namespace: str = ""
    began: str = ""

    def __str__(self) -> str:
        job = f", job {self.job}" if self.job else ""
        return f"host {self.host}, process {self.process}{job}"

    @property
    def is_here(self) -> bool:
        """Whether its process number can be looked up here."""
        return bool(self.namespace) and self.namespace == _namespace()

    @property
    def is_running(self) -> bool:
        """Whether the process exists, of a holder that is here."""
        return self.began == _began(self.process)


def this_process(environment: Mapping[str, str] = os.environ) -> Holder:
    """The holder that this process is.

    Parameters
    ----------
    environment : variables, which name the scheduler's job.
    """
    job = next((environment[name] for name in JOB_VARIABLES if environment.get(name)), "")
    process = os.getpid()
    return Holder(
        uuid.uuid4().hex, socket.gethostname(), process, job, _namespace(), _began(process)
    )


def _namespace() -> str:
    """Names the boot of the system and the container, in which process numbers are unique."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {Path('/proc/self/ns/pid').stat().st_ino}"
    except OSError:
        # Systems without /proc have no containers either; Linux without it: the sign of life.
        return "" if sys.platform == "linux" else socket.gethostname()


def _began(process: int) -> str:
    """When a process started; empty if there is none."""
    if sys.platform != "linux":
        with suppress(ProcessLookupError):
            os.kill(process, 0)
            return "unknown"
        return ""
    try:
        text = Path(f"/proc/{process}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
    # The name, in brackets, may hold anything; the time is the 22nd field. A zombie is no holder.
    state, *fields = text.rpartition(")")[2].split()
    return "" if state in "ZX" else fields[18]


class FolderLock:
    """The right to write a journal, held until :meth:`release`.

    Parameters
    ----------
    file : descriptor of the journal, which carries the system's lock.
    path : of the journal; the lock file lies beside it.
    patience : seconds to wait for a holder: a run that is being killed may hold on a while longer.

    Raises
    ------
    BadInput : another run is writing.
    Trouble : the holder did not let go in time, although it has written nothing meanwhile.
    """

    def __init__(self, file: int, path: Path, patience: float = 0.0) -> None:
        self._journal, self._file = path, -1
        self.path = path.with_name(f"{path.name}.lock")
        self._me = this_process()
        self._ended = threading.Event()
        self._seen, self._since = "", time.monotonic()
        self._wait(file, patience)
        self._beats = threading.Thread(target=self._beat, name="lock", daemon=True)
        self._beats.start()

    @property
    def lost_to(self) -> str:
        """Who has taken the lock file meanwhile; empty as long as it is held."""
        holder = _read(self.path)
        # A lock file that somebody removed protects nobody, and its holder from nothing.
        return "" if holder is None or holder.token == self._me.token else str(holder)

    def release(self) -> None:
        """Give the lock file up; the system's lock goes with the descriptor of the journal."""
        if self._file < 0:
            return
        self._ended.set()
        self._beats.join(LOOK_SECONDS)
        with suppress(OSError):
            holder = _read(self.path)
            if holder is not None and holder.token == self._me.token:
                self.path.unlink()
        with suppress(OSError):
            os.close(self._file)
        self._file = -1

    def _wait(self, file: int, patience: float) -> None:
        """Take both locks, waiting for up to ``patience`` seconds."""
        size = os.fstat(file).st_size
        begun, announced = time.monotonic(), False
        while True:
            # Asked before the attempt: a sign that grows old in between asks for less than it did.
            longest = max(patience, self._doubt())
            if _system_lock(file) and self._create():
                return
            waited = time.monotonic() - begun
            if waited >= longest:
                # A journal that grew while waiting belongs to a run that is alive.
                alive = not patience or os.fstat(file).st_size > size
                raise self._held(alive)
            if not announced:
                self._announce(longest)
                announced = True
            time.sleep(min(max(longest - waited, 0.01), LOOK_SECONDS))

    def _doubt(self) -> float:
        """Seconds within which a holder on another node must have given a sign of life."""
        holder = _read(self.path)
        quiet = self._quiet() if self.path.exists() else None
        if quiet is None or (holder is not None and holder.is_here):
            return 0.0
        # A sign out of the future says nothing: the clock was set back since.
        alive = -BEAT_SECONDS < quiet < BEAT_SECONDS
        return 0.0 if alive else self._limit(quiet) + LOOK_SECONDS

    def _limit(self, quiet: float) -> float:
        """Seconds for which a lock file of another node must be seen to stay as it is."""
        return WATCHED_SECONDS if quiet > DEAD_SECONDS else DEAD_SECONDS

    def _unchanged(self) -> float:
        """Seconds for which the lock file has been as it is now, by this process's own clock."""
        holder = _read(self.path)  # first: opening a file makes a network file system look again
        try:
            found = f"{holder} {self.path.stat().st_mtime_ns}"
        except OSError:
            found = ""
        if found != self._seen:
            self._seen, self._since = found, time.monotonic()
        return time.monotonic() - self._since

    def _announce(self, seconds: float) -> None:
        waiting = f"another run is writing here; waiting {seconds:g} s for it to end"
        print(f"{self._journal}: {waiting}", file=sys.stderr)

    def _held(self, alive: bool) -> BadInput | Trouble:
        """The error for a lock held by a run that is alive, or by one that may be dying."""
        holder = _read(self.path)
        who = "" if holder is None else f" ({holder})"
        accepted = ONE if holder is None or holder.is_here else OF_ANOTHER_NODE
        problem = f"another run is writing here{who}"
        bad = BadInput(problem, source=self._journal, accepted=accepted)
        return bad if alive else Trouble(str(bad))

    def _create(self) -> bool:
        """Make the lock file, in place of one whose holder is dead; False if somebody holds it."""
        for _ in range(2):
            try:
                self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
                os.write(self._file, json.dumps(asdict(self._me)).encode())
            except FileExistsError:
                if not self._remove_dead():
                    return False
            except OSError as error:
                if self._file >= 0:
                    self.path.unlink(missing_ok=True)
                accepted = "a writable study folder"
                raise from_os_error(error, "cannot be written", self.path, accepted) from error
            else:
                return True
        return False

    def _remove_dead(self) -> bool:
        """Remove the lock file of a dead holder; False if the holder may be alive."""
        holder, quiet = _read(self.path), self._quiet()
        if quiet is None:
            return False  # it is being removed just now
        if holder is not None and holder.is_here:
            dead = not holder.is_running
        else:
            # Also of a holder that never wrote its name.
            dead = self._unchanged() >= self._limit(quiet)
        if not dead:
            return False
        aside = self.path.with_name(f"{self.path.name}.{self._me.token}")
        with suppress(FileNotFoundError):
            # One step that one of several can make; what another has made anew goes back.
            self.path.rename(aside)
            if _read(aside) != holder:
                with suppress(OSError):
                    os.link(aside, self.path)
            if not aside.is_dir():  # which is nobody's lock, and stays aside
                aside.unlink(missing_ok=True)
        return True

    def _quiet(self) -> float | None:
        """Seconds since the holder's last sign of life, by the file system's own clock."""
        now = self.path.with_name(f"{self.path.name}.{self._me.token}.now")
        try:
            now.write_bytes(b"")
            return now.stat().st_mtime - self.path.stat().st_mtime
        except OSError:
            return None
        finally:
            with suppress(OSError):
                now.unlink(missing_ok=True)

    def _beat(self) -> None:
        """Give signs of life until the lock is released."""
        while not self._ended.wait(BEAT_SECONDS):
            with suppress(OSError, ValueError):
                # By descriptor: never the file of whoever has taken the lock meanwhile.
                os.utime(self._file)


def _read(path: Path) -> Holder | None:
    """The holder that a lock file names; None without one, or while it is being written."""
    if not path.is_file():  # a pipe has no end
        return None
    try:
        return Holder(**json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError):
        return None


def _system_lock(file: int) -> bool:
    """Try once to take the system's lock; True also where the file system has none."""
    with needed("fcntl", purpose=sys.platform, accepted="Linux or macOS; on Windows, WSL"):
        import fcntl
    try:
        # An advisory lock of the operating system: the kernel frees it when the process dies.
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        # Some parallel file systems have no locks: there the lock file alone protects the run.
        pass
    return True
