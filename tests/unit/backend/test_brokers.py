"""Which brokers settings name, and what of them cannot be."""

from __future__ import annotations

from pathlib import Path

import pytest

from backend import brokers
from backend.brokers import bus_of, refuse_without_kafka
from backend.setting_tables import KafkaSettings
from backend.settings import Settings
from domain.errors import UsageError


def settings(url: str | None = None, **kafka: object) -> Settings:
    return Settings.model_construct(bus_url=url, kafka=KafkaSettings.model_validate(kafka))


def test_the_bus_is_of_one_process_where_no_address_is_set() -> None:
    assert bus_of(settings(brokers=["b:9092"])) is None


def test_an_address_names_brokers_that_are_reached_as_the_table_says() -> None:
    about = bus_of(settings("kafka://a:1,b:2", brokers=["c:3"], tls=True, prefix="mine"))

    assert about is not None
    assert about.brokers == ("a:1", "b:2")
    assert (about.tls, about.prefix) == (True, "mine")


@pytest.mark.parametrize(
    "url", ["redis://b:1", "kafka://", "kafka://b", "kafka://b:1,", "b:1", "kafka://u:hunter2@b:1"]
)
def test_an_address_that_is_no_bus_is_refused_in_one_line(url: str) -> None:
    with pytest.raises(
        UsageError, match=r"^ALPHAPULSE_BUS_URL is kafka://host:9092, or .*$"
    ) as said:
        refuse_without_kafka(settings(url))

    assert "hunter2" not in str(said.value)


@pytest.mark.parametrize(
    ("url", "named", "said"),
    [
        ("kafka://b:1", [], "ALPHAPULSE_BUS_URL needs aiokafka"),
        (None, ["b:1"], "kafka.brokers needs aiokafka"),
    ],
)
def test_a_broker_needs_the_extra(
    monkeypatch: pytest.MonkeyPatch, url: str | None, named: list[str], said: str
) -> None:
    monkeypatch.setattr(brokers, "find_spec", lambda name: None)

    with pytest.raises(UsageError, match=said):
        refuse_without_kafka(settings(url, brokers=named))
    refuse_without_kafka(settings())


@pytest.mark.parametrize("held", [None, "-----BEGIN NOTHING-----", "\xff"])
def test_a_file_without_certificates_is_refused_by_name(tmp_path: Path, held: str | None) -> None:
    file = tmp_path / "ca.pem"
    if held is not None:
        file.write_bytes(held.encode("latin-1"))

    with pytest.raises(UsageError, match=r"^kafka\.ca: .*ca\.pem holds no certificates in PEM$"):
        refuse_without_kafka(settings(brokers=["b:1"], tls=True, ca=file))
    refuse_without_kafka(settings(tls=True, ca=file))


@pytest.mark.parametrize("prefix", ["", "Mine", "a_b", "a..b", "x" * 65])
def test_a_prefix_is_lower_case_words_with_dots(prefix: str) -> None:
    with pytest.raises(ValueError, match="prefix"):
        KafkaSettings(prefix=prefix)
