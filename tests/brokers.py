"""Real brokers for tests, on free ports: Kafka in KRaft mode from its jars, RabbitMQ from the system's package."""

import os
import shutil
import socket
import subprocess
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from connectors.local.artefacts import java_binary, kafka_jars
from connectors.local.ports import free_ports
from connectors.local.process import ServerProcess, StackError, port_is_free
from dataflows.settings import StackSettings
from tests.waiting import until

KAFKA = "4.0.0"
_CLUSTER = "vitalsVITALSvitals0000"


class Kafka:
    """One broker that is its own controller."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port, controller = free_ports(2)
        self.address = f"127.0.0.1:{self.port}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "server.properties").write_text(
            "process.roles=broker,controller\nnode.id=1\n"
            f"listeners=PLAINTEXT://127.0.0.1:{self.port},CONTROLLER://127.0.0.1:{controller}\n"
            f"advertised.listeners=PLAINTEXT://{self.address}\n"
            f"controller.listener.names=CONTROLLER\ncontroller.quorum.voters=1@127.0.0.1:{controller}\n"
            f"log.dirs={folder}/data\nnum.partitions=2\nauto.create.topics.enable=false\n"
            "offsets.topic.replication.factor=1\noffsets.topic.num.partitions=1\ngroup.initial.rebalance.delay.ms=0\n"
            "transaction.state.log.replication.factor=1\ntransaction.state.log.min.isr=1\n"
            "transaction.state.log.num.partitions=1\ngroup.min.session.timeout.ms=1000\n"
        )
        try:
            jars = kafka_jars(KAFKA, StackSettings().cache_dir, print)
        except StackError as error:
            pytest.skip(f"no Kafka here: its jars come by Maven ({error})")
        self._java = [str(java_binary()), "-Xmx256m", "-XX:TieredStopAtLevel=1", "-cp", f"{jars}/*"]
        properties = str(folder / "server.properties")
        self._process = ServerProcess(
            "Kafka", [*self._java, "kafka.Kafka", properties], folder / "kafka.log", folder / "kafka.pid"
        )

    def __enter__(self) -> "Kafka":
        (self.folder / "data").mkdir(exist_ok=True)
        format_storage = ["kafka.tools.StorageTool", "format", "-t", _CLUSTER, "-c", f"{self.folder}/server.properties"]
        subprocess.run([*self._java, *format_storage], check=True, capture_output=True)
        self._process.start()
        self._process.wait_until(self._answers, 90.0)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait(10)

    def _answers(self) -> bool:
        try:
            return bool(self.admin().list_topics(timeout=1).brokers)
        except Exception:
            return False

    def admin(self) -> AdminClient:
        return AdminClient({"bootstrap.servers": self.address, "log_level": 0})

    def topic(self, name: str, partitions: int = 2) -> str:
        admin = self.admin()  # kept: a client that is collected takes its answers with it
        admin.create_topics([NewTopic(name, partitions, 1)])[name].result(30)
        return name


def rabbitmq_sbin() -> Path | None:
    """The folder of RabbitMQ's own scripts: those on the PATH change the user first."""
    found = sorted(Path("/usr/lib/rabbitmq/lib").glob("rabbitmq_server-*/sbin"))
    return found[-1] if found and shutil.which("epmd") else None


class RabbitMQ:
    """A broker with a name server of its own; nothing of it is left when it ends."""

    def __init__(self, folder: Path) -> None:
        self.port, self._names_port, distribution = free_ports(3)
        self.url = f"amqp://guest:guest@127.0.0.1:{self.port}/"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "rabbitmq.conf").write_text(f"listeners.tcp.1 = 127.0.0.1:{self.port}\nlog.file.level = warning\n")
        (folder / "enabled_plugins").write_text("[].\n")
        env = os.environ | {
            "HOME": str(folder),
            "RABBITMQ_NODENAME": f"vitals{self.port}@localhost",
            "RABBITMQ_DIST_PORT": str(distribution),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
            "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-start_epmd false",
            "ERL_EPMD_PORT": str(self._names_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
        }
        sbin = rabbitmq_sbin()
        assert sbin is not None
        epmd = str(shutil.which("epmd"))
        self._names = ServerProcess("epmd", [epmd], folder / "epmd.log", folder / "epmd.pid", env=env)
        self._process = ServerProcess(
            "RabbitMQ", [str(sbin / "rabbitmq-server")], folder / "rabbitmq.log", folder / "rabbitmq.pid", env=env
        )

    def __enter__(self) -> "RabbitMQ":
        self._names.start()
        self._names.wait_until(lambda: not port_is_free("127.0.0.1", self._names_port), 60.0)
        self._process.start()
        self._process.wait_until(self._answers, 180.0)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.stop()
        self._names.stop()
        until(lambda: not self._process.alive)

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=2) as connection:
                connection.sendall(b"AMQP\x00\x00\x09\x01")
                return connection.recv(1) == b"\x01"  # a method: connection.start
        except OSError:
            return False
