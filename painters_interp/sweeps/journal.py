"""What a driver of a sweep notes as it goes: lines that are only added, a file for each driver.

Nobody waits for anybody: each driver has its own files, and whoever wants to know reads them all.
"""

import json
import math
import os
import re
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from ..errors import OutputError
from ..storage import writable_folder
from ..terminal import say_aside

# Seconds between two signs of life, and after how many without one a driver counts as gone.
_BEAT, _GONE = 5.0, 30.0


class Journal:
    """The notes and the log of one driver, in `folder`; a context, which it leaves with a note."""

    def __init__(self, folder: Path) -> None:
        host = re.sub(r"[^A-Za-z0-9.-]+", "_", socket.gethostname())
        # Containers share process ids, and may share their host's name.
        self.name = f"{time.strftime('%Y%m%d-%H%M%S')}-{host}-{os.getpid()}-{uuid4().hex[:8]}"
        self._last = max((note.time for note in notes(folder)), default=0.0)
        self._notes = writable_folder(folder / "journal") / f"{self.name}.jsonl"
        self.log = writable_folder(folder / "logs") / f"{self.name}.log"
        self._over = threading.Event()
        self._beats = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> "Journal":
        self.note("opened", process=os.getpid())
        self._beats.start()
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        self._over.set()
        self._beats.join()
        try:
            self.note("ended", how="done" if error is None else f"{type(error).__name__}: {error}")
        except OutputError:
            if error is None:
                raise  # else the error that ended it says more

    def note(self, event: str, **facts: Any) -> None:
        """Add a line, later than all that stood there, whatever the clock says. OutputError."""
        self._last = max(time.time(), math.nextafter(self._last, math.inf))
        line = json.dumps({"event": event, "time": self._last, **facts}, default=str)
        self._append(self._notes, line)

    def say(self, text: str) -> None:
        """Tell whoever watches, and the log. Raises OutputError."""
        say_aside(text)
        self._append(self.log, f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}")

    def _append(self, path: Path, line: str) -> None:
        try:
            with path.open("a", encoding="utf-8", errors="surrogatepass") as file:
                file.write(f"{line}\n")
        except OSError as error:
            raise OutputError(f"cannot write {path}: {error.strerror or error}") from error

    def _beat(self) -> None:
        while not self._over.wait(_BEAT):
            with suppress(OSError):  # not there any more: the next note says so
                os.utime(self._notes)


@dataclass(frozen=True)
class Note:
    """A line of a journal, and whether its driver is still at work."""

    event: str
    time: float
    driver: str
    alive: bool
    facts: dict[str, Any]


def notes(folder: Path) -> list[Note]:
    """All lines of all drivers, in order of time."""
    paths = [*(folder / "journal").glob("*.jsonl")]
    now = _now(folder / "journal") if paths else 0.0
    found = [note for path in paths for note in _lines(path, now)]
    return sorted(found, key=lambda note: note.time)


def _now(folder: Path) -> float:
    """The time of the file system, which may be a server's; this machine's where none is told."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            return os.fstat(file.fileno()).st_mtime
    except OSError:
        return time.time()


def _lines(path: Path, now: float) -> Iterator[Note]:
    content = path.read_text(encoding="utf-8", errors="surrogatepass")
    # What follows the last line break is a line that is being written, or that a kill cut short.
    lines = []
    for text in content.split("\n")[:-1]:
        try:
            lines.append(json.loads(text))
        except ValueError:  # a line that a full disk cut short, and that was written on behind
            continue
    over = any(line["event"] == "ended" for line in lines)
    # A sign of life from the future is older than the day when the clock was set back.
    alive = not over and abs(now - path.stat().st_mtime) < _GONE
    for line in lines:
        event, moment = line.pop("event"), float(line.pop("time"))
        yield Note(event, moment, path.stem, alive, line)
