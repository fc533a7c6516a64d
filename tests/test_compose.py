"""The compose file names commands, files and versions that exist, and no password."""

from __future__ import annotations

import json
import re
from importlib.resources import files
from typing import Any

import jsonschema_rs
import pytest
import yaml
from typer.testing import CliRunner

from backend.cli import app
from backend.rooms import Room, rooms_of
from backend.settings import PREFIX, load
from tests.conftest import ROOT

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
APART: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.apart.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
ROOMS = [name for name, one in APART["services"].items() if "command" in one]
OURS = [name for name, one in SERVICES.items() if "build" in one]
MADE_BY_THE_OPERATOR = {"./deploy/metrics.token"}
DOT_ENV = {"POSTGRES_PASSWORD": "secret", "EXCHANGES": "kraken", "SYMBOLS": "BTC/USD,ETH/USD"}
SCHEMA = files("check_jsonschema") / "builtin_schemas/vendor/compose-spec.json"


@pytest.mark.parametrize("document", [COMPOSE, APART], ids=["one system", "apart"])
def test_the_file_is_what_the_compose_specification_says(document: dict[str, Any]) -> None:
    schema = jsonschema_rs.validator_for(json.loads(SCHEMA.read_text()))

    assert [f"{one.instance_path}: {one.message}" for one in schema.iter_errors(document)] == []


@pytest.mark.parametrize("name", [*OURS, *ROOMS])
def test_the_variables_are_settings_and_their_values_can_be(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    apart = APART["services"].get(name, {}).get("environment", {})
    variables = {**COMPOSE["x-alphapulse"]["environment"], **apart}
    for variable, value in variables.items():
        monkeypatch.setenv(variable, re.sub(r"\$\{(\w+):.(.*?)\}", _in_dot_env, value))

    settings = load()

    assert all(variable.startswith(PREFIX) for variable in variables)
    assert [one.value for one in settings.watch.timeframes] == ["1h"]
    assert "@database:" in settings.database_url.get_secret_value()  # type: ignore[union-attr]


def _in_dot_env(named: re.Match[str]) -> str:
    return DOT_ENV.get(named[1], named[2])


@pytest.mark.parametrize("name", OURS)
def test_every_command_exists(name: str) -> None:
    done = CliRunner().invoke(app, [*SERVICES[name]["command"], "--help"])

    assert done.exit_code == 0, done.output


@pytest.mark.parametrize("name", SERVICES)
def test_every_image_has_a_version_and_every_service_a_bound(name: str) -> None:
    service = SERVICES[name]
    limits = service["deploy"]["resources"]["limits"]

    assert re.fullmatch(r"[\w./-]+:v?\d+\.\d+[\w.-]*", service["image"])
    assert {"cpus", "memory"} <= limits.keys()
    assert service["restart"] in {"unless-stopped", "no"}
    assert service["healthcheck"].get("test") or name == "migrate"


@pytest.mark.parametrize("name", ROOMS)
def test_rooms_apart_stand_on_what_is_there_and_run_rooms_that_exist(name: str) -> None:
    service = APART["services"][name]
    command = service["command"]
    rooms = rooms_of(command[command.index("--rooms") + 1])

    assert rooms == frozenset([Room(name)])
    assert CliRunner().invoke(app, [*command, "--help"]).exit_code == 0
    assert SERVICES[service["extends"]["service"]]["build"]
    assert service["depends_on"].keys() <= SERVICES.keys()
    assert service["environment"]["ALPHAPULSE_BUS_URL"].split("//")[1].split(":")[0] in SERVICES
    assert {"cpus", "memory"} <= service["deploy"]["resources"]["limits"].keys()


def test_one_system_does_not_run_beside_rooms_of_their_own() -> None:
    assert APART["services"]["system"]["deploy"]["replicas"] == 0


def test_no_password_is_written_down() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    passwords = re.findall(r"PASSWORD[^\s:]*: *(\S.*)|:([^\s:/@]*)@", text)

    assert passwords
    for one in passwords:
        said = "".join(one)
        assert said.startswith(("${", "?")), said


def test_every_file_that_is_mounted_is_there() -> None:
    mounted = [
        volume.partition(":")[0] for one in SERVICES.values() for volume in one.get("volumes", ())
    ]
    files = {one for one in mounted if one.startswith("./")} - MADE_BY_THE_OPERATOR
    named = {one for one in mounted if not one.startswith("./")}

    assert files
    assert all((ROOT / one).exists() for one in files)
    assert named == set(COMPOSE["volumes"])


def test_who_waits_waits_for_a_service_that_can_be_waited_for() -> None:
    for service in SERVICES.values():
        waits = service.get("depends_on", ())
        assert set(waits) <= SERVICES.keys()
        if isinstance(waits, dict):
            for other, how in waits.items():
                healthy = how["condition"] == "service_healthy"
                assert not healthy or "test" in SERVICES[other]["healthcheck"]


def test_the_database_is_healthy_when_others_can_connect() -> None:
    check = SERVICES["database"]["healthcheck"]["test"]

    assert check[check.index("-h") + 1] == "127.0.0.1"


def test_the_heap_of_the_broker_leaves_half_of_its_memory() -> None:
    kafka = SERVICES["kafka"]
    (heap,) = re.findall(r"-Xmx(\d+)m", kafka["environment"]["KAFKA_HEAP_OPTS"])

    assert 2 * int(heap) <= _megabytes(kafka["deploy"]["resources"]["limits"]["memory"])
    assert not any(".sh" in one for one in kafka["healthcheck"]["test"])  # each starts a machine


def test_queries_in_parallel_have_memory_to_share() -> None:
    assert _megabytes(SERVICES["database"]["shm_size"]) >= 256


def test_the_proxy_leaves_out_a_server_that_does_not_answer() -> None:
    version = re.findall(r"\d+", SERVICES["proxy"]["image"])
    said = (ROOT / "deploy/Caddyfile").read_text()

    assert tuple(map(int, version)) >= (
        2,
        11,
        2,
    )  # before, failures of dynamic servers are forgotten
    assert {"fail_duration", "lb_try_duration"} <= set(said.split())
    assert "health_uri" not in said  # not asked of dynamic servers


def test_the_image_uses_the_kernels_that_it_compiled() -> None:
    said = (ROOT / "Dockerfile").read_text()
    (python,) = set(re.findall(r"^FROM python:(\d+\.\d+)", said, re.MULTILINE))
    owned = re.findall(r"(\w+)/__pycache__", said)
    compiled = {
        file.parent.name
        for file in (ROOT / "services").rglob("*.py")
        if "cache=True" in file.read_text()
    }

    assert f"cd /venv/lib/python{python}/site-packages/services " in said
    assert set(owned) == compiled


def _megabytes(size: str) -> int:
    return int(size[:-1]) * {"m": 1, "g": 1024}[size[-1]]
