"""Settings: what is in force, where it comes from, and what is refused."""

from __future__ import annotations

import os
import traceback
from pathlib import Path

import pytest
from pydantic import BaseModel

from backend import settings
from backend.durations import duration, moment, names
from backend.learning.plan import LearningPlan
from backend.setting_tables import RedditSettings
from backend.settings_file import in_force
from domain.errors import UsageError
from domain.market import Timeframe


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_flags_win_over_the_environment_and_that_over_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "alphapulse.toml").write_text("port = 1111\nhistory_bars = 300\n")
    monkeypatch.setenv("ALPHAPULSE_PORT", "2222")

    assert settings.load().port == 2222
    assert settings.load({"port": 3333}).port == 3333
    assert settings.load().history_bars == 300


def test_where_each_value_comes_from_is_said_and_secrets_are_masked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "alphapulse.toml").write_text("[signals]\ncost_bps = 5.0\n")
    monkeypatch.setenv("ALPHAPULSE_DATABASE_URL", "postgresql://u:hunter2@h/db")
    monkeypatch.setenv("ALPHAPULSE_SOURCES__CRYPTOPANIC_TOKEN", "hunter2")

    found = {name: (value, origin) for name, value, origin in in_force(settings.load())}

    assert found["signals.cost_bps"] == ("5.0", "alphapulse.toml")
    assert found["signals.minimum_strength"][1] == "default"
    assert found["database_url"] == ("**********", "ALPHAPULSE_DATABASE_URL")
    assert found["sources.cryptopanic_token"][0] == "**********"
    assert "hunter2" not in repr(settings.load())


def test_an_exchange_is_given_other_addresses_by_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ALPHAPULSE_EXCHANGE__BINANCE__REST_URL", "http://127.0.0.1:9000")

    assert settings.load().exchange["binance"].rest_url == "http://127.0.0.1:9000"


def test_what_is_listed_twice_is_watched_once_and_a_level_is_spelt_either_way() -> None:
    watched = {"exchanges": "a,b,a", "timeframes": "1m,1h,1m", "horizons": "4,24,4"}
    found = settings.load({"watch": watched, "log_level": "warning"})

    assert found.watch.exchanges == ("a", "b")
    assert (found.watch.timeframes, found.watch.horizons) == ((Timeframe.M1, Timeframe.H1), (4, 24))
    assert found.log_level == "WARNING"


def test_what_is_watched_is_said_in_lists_in_the_file_and_with_commas_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "alphapulse.toml").write_text(
        '[watch]\nexchanges = ["kraken"]\nsymbols = ["A/USD"]\nhorizons = [4]\n'
    )
    monkeypatch.setenv("ALPHAPULSE_WATCH__SYMBOLS", "BTC/USDT, ETH/USDT")
    monkeypatch.setenv("ALPHAPULSE_WATCH__HORIZONS", "4,24")

    watch = settings.load({"watch": {"timeframes": ["1m"]}}).watch

    assert watch.exchanges == ("kraken",)
    assert watch.symbols == ("BTC/USDT", "ETH/USDT")
    assert (watch.timeframes, watch.horizons) == ((Timeframe.M1,), (4, 24))


@pytest.mark.parametrize("group", [settings.Settings, RedditSettings, *settings.GROUPS.values()])
def test_every_setting_says_what_it_is_for(group: type[BaseModel]) -> None:
    fields = group.model_fields
    lacking = [name for name, field in fields.items() if not field.description]
    assert [name for name in lacking if name not in settings.GROUPS] == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[watch]\ntimeframes = ["2h"]\n', "unknown timeframe '2h'; nearest: 4h, 1h"),
        ("[watch]\nhorizons = [0]\n", "setting watch.horizons.0"),
        ("port = 99999\n", "setting port"),
        ("port = \n", "alphapulse.toml"),
        ("[signals]\nx=1\n", "unknown setting 'signals.x'; "),
        ("[exchange.binance]\nrest=1\n", "nearest: exchange.binance.rest_url, "),
        ('[training]\nkinds = ["foo.direction"]\n', "unknown model 'foo.direction'; nearest: "),
        ('[sources]\nnews = ["coindsk"]\n', "unknown feed 'coindsk'; nearest: coindesk"),
        ('[kafka]\nbrokers = ["kafka://b:9092"]\n', "a broker is host:port"),
        ('[kafka]\nusername = "u"\n', "username and password belong together"),
        (
            '[kafka]\nusername = "u"\npassword = "hunter2"\nmechanism = "PLAIN"\n',
            "to the network: set tls",
        ),
        ('[kafka]\nbrokers = ["b:\N{SUPERSCRIPT TWO}"]\n', "a broker is host:port"),
        ("[signals]\ncost_bps = inf\n", "signals.cost_bps: Input should be a finite number"),
        ("deadline_ms = 99999999999999999999\n", "setting deadline_ms"),
        ("history_bars = 99999999999999999999\n", "setting history_bars"),
        ("[retention]\nfeatures_days = 99999999999\n", "setting retention.features_days"),
        ("[notify]\nkeep_days = 99999999999\n", "setting notify.keep_days"),
        ('log_level = "LOUD"\n', "setting log_level: Input should be 'DEBUG', "),
        ('state = "a\\u0000b"\n', "setting state holds a character that no setting has (U+0000)"),
        ('[watch]\nsymbols = ["a\\u0000"]\n', "setting watch.symbols holds a character"),
        ('[sources.keys]\n"a\\u0000" = "b"\n', "setting sources.keys holds a character"),
        (f'state = "{"x" * 300}"\n', "setting state: a name of 300 bytes is too long; 255 are"),
        (f'state = "{"x/" * 3000}"\n', "bytes is too long; 3500 are the most"),
        ('host = "a..b"\n', "setting host: no name of a host, and no address"),
        (
            '[exchange.binance]\nrest_url = "hunter2"\n',
            "an address begins with https:// or http://",
        ),
        ('[exchange.binance]\nws_url = "https://h"\n', "an address begins with wss:// or ws://"),
        ('[sources.feeds]\nmine = "https://["\n', "an address begins with https:// or http://"),
        ('[kafka]\nbrokers = ["b:99999"]\n', "a broker is host:port"),
        ("history_bars = 1000000\n", "1000000 candles of 1h reach back beyond 100 years; 876000"),
        ("[training]\ndelay_bars = 1000000\n", "setting training.delay_bars"),
        (f"port = {'[' * 3000}", "alphapulse.toml: maximum recursion depth"),
        (f"port = {'9' * 5000}", "alphapulse.toml: Exceeds the limit"),
        ("bogus = 1\n", "unknown setting 'bogus'; "),
        ("prot = 1\n", "unknown setting 'prot'; nearest: port"),
        ("[signal]\ncost_bps = 5.0\n", "unknown setting 'signal'; nearest: signals"),
        (
            '[sources.reddit]\nclient_id="i"\nclient_secret="s"\nusername="u"\ncomunities=[]\n',
            "nearest: sources.reddit.communities",
        ),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "alphapulse.toml").write_text(text)

    with pytest.raises(UsageError) as refusal:
        settings.load()

    assert said in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert "hunter2" not in str(refusal.value)


def test_a_file_that_is_no_text_is_named_and_shows_nothing_of_itself(tmp_path: Path) -> None:
    file = tmp_path / "alphapulse.toml"
    file.write_bytes(b'bus_url = "hunter\xff2"\n')
    with pytest.raises(UsageError, match=r"^alphapulse\.toml is not UTF-8: byte 18$"):
        settings.load()

    file.unlink()
    os.mkfifo(file)  # who reads it waits for somebody who writes
    with pytest.raises(UsageError, match=r"^alphapulse\.toml cannot be read: it is no file$"):
        settings.load()

    file.unlink()
    file.symlink_to("nowhere")
    with pytest.raises(UsageError, match=r"^alphapulse\.toml cannot be read: No such file or dir"):
        settings.load()

    file.unlink()
    file.mkdir()
    with pytest.raises(UsageError, match=r"^alphapulse\.toml cannot be read: Is a directory$"):
        settings.load()


@pytest.mark.parametrize(
    ("variable", "said"),
    [
        ("ALPHAPULSE_PROT", "'ALPHAPULSE_PROT'; nearest: ALPHAPULSE_PORT"),
        ("ALPHAPULSE_PORT__X", "'ALPHAPULSE_PORT__X'; nearest: ALPHAPULSE_PORT"),
        ("ALPHAPULSE_SIGNALS__COST", "'signals.cost'; nearest: signals.cost_bps"),
    ],
)
def test_a_variable_that_means_nothing_is_refused(
    monkeypatch: pytest.MonkeyPatch, variable: str, said: str
) -> None:
    monkeypatch.setenv("ALPHAPULSE_TEST_DATA", "the tests' own")
    settings.load()
    monkeypatch.setenv(variable, "1")

    with pytest.raises(UsageError, match=said):
        settings.load()


def test_durations_moments_and_names_are_read_as_people_type_them() -> None:
    assert duration("120s").total_seconds() == 120
    assert duration("2d").days == 2
    assert moment("2025-01-31T12:00+01:00").hour == 11
    assert names(" BTC/USDT ,ETH/USDT,") == ["BTC/USDT", "ETH/USDT"]
    for wrong in ("soon", "5 weeks"):
        with pytest.raises(UsageError):
            duration(wrong)
    with pytest.raises(UsageError):
        moment("yesterday")


VARIANT = """
[training]
kinds = ["shallow.volatility"]
[training.variants.shallow]
kind = "lightgbm"
trials = 30
volatility = { depth = 2, trees = 60 }
"""


def test_a_variant_is_fitted_with_what_it_names_whatever_the_size_of_the_others(
    tmp_path: Path,
) -> None:
    (tmp_path / "alphapulse.toml").write_text(VARIANT)
    chosen = settings.load()
    training = chosen.training.model_copy(update={"trees": 10})

    (recipe,) = LearningPlan.of(training, Timeframe.H1, seed=7, plugins=chosen.plugins).recipes

    assert (recipe.name, recipe.n_trials) == ("shallow.volatility", 30)
    assert (recipe.parameters["depth"], recipe.parameters["trees"]) == (2, 60)
    assert chosen.plugins.names == ()


@pytest.mark.parametrize(
    ("sound", "planted", "words"),
    [
        ('"lightgbm"', '"lightgb"', "unknown kind of model 'lightgb'; nearest: lightgbm"),
        ("depth", "dept", "unknown parameter 'shallow.volatility.dept'; nearest: shallow"),
        ("depth = 2", "depth = 0", "shallow.volatility.depth: 0 is not from 1 to 16"),
        ("depth = 2", 'depth = "two"', "it is a whole number, like 4"),
        ('["shallow', '["shalow', "unknown model 'shalow.volatility'; nearest: shallow"),
        ("volatility = ", "direction = ", "unknown model 'shallow.volatility'"),
        ("trials = 30", "", "training.variants.shallow.trials: Field required"),
        ("trials", "trails", "unknown setting 'training.variants.shallow.trails'; nearest"),
        ("trials = 30", 'trials = 30\nfeatures = ["tempo"]', "unknown plug-in 'tempo'"),
        ("trials = 30", "trials = 0", "training.variants.shallow.trials: Input should be greater"),
    ],
)
def test_a_variant_that_cannot_be_is_refused_in_one_line(
    tmp_path: Path, sound: str, planted: str, words: str
) -> None:
    text = VARIANT.replace(sound, planted, 1)
    if words.startswith("unknown setting"):
        text = text.replace("trails = 30", "trials = 30\ntrails = 30")
    (tmp_path / "alphapulse.toml").write_text(text)

    with pytest.raises(UsageError) as caught:
        settings.load()

    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_variable_that_is_no_list_is_named_without_its_value(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ALPHAPULSE_SOURCES__KEYS", "hunter2")

    with pytest.raises(UsageError, match=r"is JSON, .* see ALPHAPULSE_SOURCES__KEYS$"):
        settings.load()


@pytest.mark.parametrize("address", ["", "nowhere", "wrong://hunter2", "http://"])
def test_a_mirror_that_is_no_address_is_refused_without_being_repeated(
    monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setenv("ALPHAPULSE_TRAINING__MIRROR", address)

    with pytest.raises(UsageError, match="no address of an MLflow server") as refused:
        settings.load()
    assert "hunter2" not in str(refused.value)


SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # noqa: S105 - of an example
NOTIFY = f"""
[notify.channels.ops]
url = "https://hunter2.example.org/hook"
secret = "{SECRET}"
[notify.channels.phone]
apprise = "tgram://hunter2/12345"
[[notify.rules]]
events = ["signal.opened"]
instruments = ["binance:*"]
timeframes = ["1h"]
minimum_strength = 0.2
channels = ["ops", "phone"]
"""


def test_channels_are_masked_and_their_secrets_may_be_in_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "alphapulse.toml").write_text(NOTIFY.replace(f'secret = "{SECRET}"\n', ""))
    monkeypatch.setenv("ALPHAPULSE_NOTIFY__CHANNELS__OPS__SECRET", SECRET)

    chosen = settings.load()

    found = {name: value for name, value, _ in in_force(chosen)}
    assert found["notify.channels.ops.secret"] == found["notify.channels.ops.url"] == "**********"
    assert found["notify.channels.phone.apprise"] == "**********"
    assert not {SECRET, "hunter2"} & set(" ".join(found.values()).split("/"))
    assert chosen.notify.channels["ops"].secret is not None
    (rule,) = (one.rule() for one in chosen.notify.rules)
    assert (rule.instruments, rule.timeframes) == (("binance:*",), ("1h",))


@pytest.mark.parametrize(
    ("sound", "planted", "said"),
    [
        ("signal.opened", "signal.open", "unknown event 'signal.open'; nearest: signal.opened"),
        ('["ops", "phone"]', '["op"]', "unknown channel 'op'; nearest: ops"),
        ('["1h"]', '["2h"]', "unknown timeframe '2h'"),
        ('["binance:*"]', '["binance"]', "'binance' names no instruments"),
        ("minimum_strength", "minimal_strength", "nearest: notify.rules.0.minimum_strength"),
        ("secret", "scret", "nearest: notify.channels.ops.secret"),
        ('"signal.opened"', '"gap.opened"', "the rule names no event of them"),
        (SECRET, "whsec_aHVudGVyMg==", "24 to 64 bytes in base64"),
        (SECRET, SECRET.removeprefix("whsec_"), "a secret is whsec_"),
        ("https://hunter2", "ftp://hunter2", "begins with https:// or http://"),
        ("tgram://", "hunter2", "apprise is an address"),
        ('apprise = "tgram://hunter2/12345"', "", "a channel has a url, or apprise"),
        ("channels.ops]", "channels.Ops]", "should match pattern"),
    ],
)
def test_a_channel_or_a_rule_that_cannot_be_is_refused_and_its_secrets_not_repeated(
    tmp_path: Path, sound: str, planted: str, said: str
) -> None:
    (tmp_path / "alphapulse.toml").write_text(NOTIFY.replace(sound, planted))

    with pytest.raises(UsageError) as refusal:
        settings.load()

    traced = "".join(traceback.format_exception(refusal.value))
    assert said in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert [one for one in ("hunter2", SECRET, "aHVudGVyMg") if one in traced] == []
