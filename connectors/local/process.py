"""One server process: start, wait until healthy, stop, and what a pid file of an earlier run means."""

import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

_POLL_S = 0.05
_STOP_S = 15.0


class StackError(RuntimeError):
    """The local stack cannot start or go on; the message says what to do."""


class CancelledError(StackError):
    """Stopping was asked for while starting."""


class ServerProcess:
    """A child process with a log file and a pid file.

    Args:
        name: What people call it.
        command: Program and arguments.
        log: File that takes its output.
        pid_file: Says which process this is, for a start after a crash of the parent.
        env: Environment in place of the parent's.
        cwd: Folder in place of the parent's.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        log: Path,
        pid_file: Path,
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        self.name = name
        self.log = log
        self._command = list(command)
        self._pid_file = pid_file
        self._env = dict(env) if env is not None else None
        self._cwd = cwd
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Process id."""
        if self._process is None:
            message = f"{self.name} was not started"
            raise StackError(message)
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.poll() is None

    @property
    def returncode(self) -> int | None:
        """Exit code, negative for a signal; None while it runs or before it was started."""
        return None if self._process is None else self._process.poll()

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal, if it runs."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)

    def wait(self, timeout_s: float) -> int | None:
        """Returns the exit code, or None when it still runs after `timeout_s`."""
        if self._process is None:
            return None
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None

    def start(self) -> None:
        """Starts the process in a session of its own, so that Ctrl-C reaches the parent alone, which then stops it."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self._pid_file.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env=self._env,
                cwd=self._cwd,
            )
        record = {"pid": self._process.pid, "started": start_time(self._process.pid)}
        self._pid_file.write_text(json.dumps(record))

    def wait_until(self, healthy: Callable[[], bool], timeout_s: float, cancel: threading.Event | None = None) -> None:
        """Waits until `healthy()`.

        Raises:
            StackError: The process ended or did not become healthy in time; with the end of its log.
            CancelledError: `cancel` was set.
        """
        deadline = time.monotonic() + timeout_s
        while not healthy():
            if cancel is not None and cancel.is_set():
                message = f"{self.name}: start was cancelled"
                raise CancelledError(message)
            if not self.alive:
                message = f"{self.name} ended while starting; its log {self.log} ends with:\n{self.log_tail()}"
                raise StackError(message)
            if time.monotonic() > deadline:
                message = f"{self.name} is not healthy after {timeout_s:.0f} s; {self.log} ends:\n{self.log_tail()}"
                raise StackError(message)
            time.sleep(_POLL_S)

    def log_tail(self, lines: int = 12) -> str:
        """Returns the last lines of the log."""
        try:
            return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])
        except FileNotFoundError:
            return ""

    def stop(self, timeout_s: float = _STOP_S) -> None:
        """Ends the process: SIGTERM, after `timeout_s` SIGKILL."""
        process = self._process
        if process is None:
            return
        if process.poll() is None:
            # A stopped (SIGSTOP) process takes SIGTERM only after it continues.
            process.send_signal(signal.SIGCONT)
            process.terminate()
            try:
                process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._pid_file.unlink(missing_ok=True)

    def kill(self) -> None:
        """Ends the process as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()


def start_time(pid: int) -> str | None:
    """Returns when a process started, in the kernel's ticks: with the pid it names one process of this boot."""
    try:
        # The command in parentheses may hold spaces; starttime is field 22.
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[19]
    except (FileNotFoundError, ProcessLookupError):
        return None


def end_leftover(pid_file: Path, say: Callable[[str], None], name: str) -> None:
    """Clears the pid file of an earlier run; a server that outlived its parent's crash is stopped."""
    if not pid_file.exists():
        return
    try:
        record = json.loads(pid_file.read_text())
        pid, started = int(record["pid"]), record["started"]
    except (ValueError, KeyError, TypeError):
        say(f"{name}: unreadable pid file {pid_file} removed")
        pid_file.unlink()
        return
    if started is None or start_time(pid) != started or _is_zombie(pid):
        say(f"{name}: stale pid file removed (process {pid} is gone)")
        pid_file.unlink()
        return
    say(f"{name}: process {pid} outlived an earlier stack, stopping it")
    os.kill(pid, signal.SIGCONT)
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + _STOP_S
    while start_time(pid) == started and not _is_zombie(pid):
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
        time.sleep(_POLL_S)
    pid_file.unlink()


def _is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def port_is_free(host: str, port: int) -> bool:
    """Whether a server could listen there."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def port_holder(port: int) -> str:
    """Returns in words who listens on a TCP port, as far as this user may know."""
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            lines = Path(table).read_text().splitlines()[1:]
        except FileNotFoundError:
            continue
        for line in lines:
            fields = line.split()
            if fields[3] == "0A" and int(fields[1].rsplit(":", 1)[1], 16) == port:
                inodes.add(f"socket:[{fields[9]}]")
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if any(os.readlink(fd) in inodes for fd in (process / "fd").iterdir()):
                command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
                return f"process {process.name} ({command[:120]})"
        except OSError:  # it ended, or belongs to somebody else
            continue
    return "another program (of another user, or outside this container)"
