"""One Apache Kafka broker on loopback, in KRaft mode, started from the jars that Maven resolves."""

from __future__ import annotations

import asyncio
import contextlib
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from tests.ports import free_port

POM = Path(__file__).with_name("pom.xml")
OLDEST_JAVA = 17
RESOLVED_WITHIN_S = 300  # some 60 MB of jars, once for each user
ANSWERS_WITHIN_S = 120
LOOK_EVERY_S = 0.2
# One small broker that may come back at once, and groups that wait for no further members.
SETTINGS = """
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
controller.listener.names=CONTROLLER
listeners={protocol}://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT
inter.broker.listener.name={protocol}
log.dirs={folder}/log
auto.create.topics.enable=false
broker.heartbeat.interval.ms=300
broker.session.timeout.ms=4000
group.initial.rebalance.delay.ms=0
offsets.topic.num.partitions=1
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
"""
# One that asks who we are; it is its own first client.
USER, PASSWORD = "alphapulse", "hunter2"
ASKING = f"""
sasl.enabled.mechanisms=SCRAM-SHA-512
sasl.mechanism.inter.broker.protocol=SCRAM-SHA-512
listener.name.sasl_plaintext.scram-sha-512.sasl.jaas.config=\
  org.apache.kafka.common.security.scram.ScramLoginModule required \
  username="{USER}" password="{PASSWORD}";
"""
JVM = ("-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")


class NoBrokerError(Exception):
    """This machine cannot start one; the message says why."""


@cache
def class_path() -> str:
    """The jars of a broker, fetched into the user's Maven repository where they are not there.

    Raises:
        NoBrokerError: there is no Java, no Maven, or a jar that cannot be fetched.
    """
    java, maven = shutil.which("java"), shutil.which("mvn")
    if java is None or maven is None:
        raise NoBrokerError(f"no Java {OLDEST_JAVA} with Maven on this machine")
    told = _run(java, "-version").stderr
    version = re.search(rb'version "(\d+)', told)
    if version is None or int(version[1]) < OLDEST_JAVA:
        raise NoBrokerError(f"Java is not {OLDEST_JAVA} or newer")
    ask = [maven, "--batch-mode", "--file", str(POM), "dependency:build-classpath"]
    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(subprocess.TimeoutExpired):
        jars = Path(folder) / "jars"
        ask += [f"-Dmdep.outputFile={jars}", "-Dmdep.includeScope=runtime"]
        for place in ("--offline", "--update-snapshots"):  # the network only for what is not there
            _run(*ask, place)
            if jars.exists():
                return jars.read_text().strip()
    raise NoBrokerError("Maven cannot resolve the jars of a broker")


@dataclass(slots=True)
class Broker:
    """A process with a log of its own in `folder`, which outlives it.

    Raises:
        NoBrokerError: at the start, as `class_path`.
    """

    folder: Path
    asks: bool = False  # who we are: USER, PASSWORD
    port: int = field(init=False)
    _cluster: str = field(init=False)
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.port, controller = free_port(), free_port()
        protocol = "SASL_PLAINTEXT" if self.asks else "PLAINTEXT"
        about = {"port": self.port, "controller": controller, "folder": self.folder}
        settings = SETTINGS.format(**about, protocol=protocol)
        self._settings.write_text(settings + (ASKING if self.asks else ""))
        self._cluster = urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        self._format()

    def _format(self) -> None:
        form = _java("kafka.tools.StorageTool", "format", f"--cluster-id={self._cluster}")
        form += ["--config", str(self._settings)]
        if self.asks:
            form += ["--add-scram", f"SCRAM-SHA-512=[name={USER},password={PASSWORD}]"]
        done = _run(*form)
        assert done.returncode == 0, done.stderr.decode()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def _settings(self) -> Path:
        return self.folder / "server.properties"

    def start(self) -> None:
        """Start it and wait until it answers."""
        told = (self.folder / "broker.txt").open("ab")
        command = _java("kafka.Kafka", str(self._settings))
        self._process = subprocess.Popen(command, stdout=told, stderr=told)  # noqa: S603 - ours
        told.close()
        deadline = time.monotonic() + ANSWERS_WITHIN_S
        while not (_listens(self.port) and (self.asks or answers(self.address))):
            assert self._process.poll() is None, (self.folder / "broker.txt").read_text()[-4000:]
            assert time.monotonic() < deadline, f"no answer within {ANSWERS_WITHIN_S} s"
            time.sleep(LOOK_EVERY_S)

    def processes(self) -> list[int]:
        """Its process, while it runs."""
        running = self._process is not None and self._process.poll() is None
        return [self._process.pid] if self._process is not None and running else []

    def freeze(self) -> None:
        """It keeps its connections and answers nothing, as one behind a cut wire."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """It goes on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """kill -9."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None

    def lose(self) -> None:
        """It is killed, and its volume is gone; it begins empty under the id that it had."""
        self.kill()
        shutil.rmtree(self.folder / "log")
        self._format()


@contextmanager
def running(folder: Path, *, asks: bool = False) -> Iterator[Broker]:
    """A broker that answers, killed at the end; the test is skipped where there can be none."""
    try:
        broker = Broker(folder, asks=asks)
    except NoBrokerError as error:
        pytest.skip(f"{error}: no broker for this test")
    try:
        broker.start()
        yield broker
    finally:
        broker.kill()


def answers(address: str) -> bool:
    """Whether there is a broker."""
    return asyncio.run(_answers(address))


async def _answers(address: str) -> bool:
    client = AIOKafkaAdminClient(bootstrap_servers=address, request_timeout_ms=2_000)
    try:
        await client.start()
        return bool((await client.describe_cluster())["brokers"])
    except (KafkaError, OSError):
        return False
    finally:
        await client.close()


def _run(*command: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(  # noqa: S603 - ours
        command, check=False, capture_output=True, timeout=RESOLVED_WITHIN_S
    )


def _listens(port: int) -> bool:
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0


def _java(*arguments: str) -> list[str]:
    # No broker outlives the tests, whatever ends them.
    guard = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []
    return [*guard, "java", *JVM, "-cp", class_path(), *arguments]
