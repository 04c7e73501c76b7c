"""Files that hold secrets: readable by their owner alone from the first byte on, and whole or not there at all."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SECRET_MODE = 0o600


def secret_folder(path: Path) -> Path:
    """Makes a folder that only its owner can look into; returns it."""
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.chmod(0o700)
    return path


def write_secret(path: Path, text: str) -> None:
    """Writes a file with mode 0600 in place of what was there; a crash leaves the old one or the new one."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.unlink(missing_ok=True)
    # The mode is given at creation: a file that is narrowed afterwards was open to others for a moment.
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, SECRET_MODE), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def read_secret(path: Path) -> str:
    """Reads a secret.

    Raises:
        PermissionError: Others may read it, so it is none.
    """
    mode = path.stat().st_mode & 0o077
    if mode:
        message = (
            f"{path} can be read by others (mode {path.stat().st_mode & 0o777:o}); make new keys, this one is known"
        )
        raise PermissionError(message)
    return path.read_text()


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keeps other processes out of a folder for the time of a `with`: two revocations must not undo each other."""
    with (folder / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
