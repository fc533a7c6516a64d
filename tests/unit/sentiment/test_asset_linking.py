"""Which assets a text speaks of, and which words only look like one."""

from __future__ import annotations

import pytest

from services.sentiment.assets import AMBIGUOUS_NAMES, AMBIGUOUS_TICKERS, NAMES, PLAIN_TICKERS
from services.sentiment.linking import AssetLinker

LINKER = AssetLinker()


@pytest.mark.parametrize(
    ("text", "assets"),
    [
        ("Bitcoin and ethereum rise", {"BTC", "ETH"}),
        ("$sol to the moon", {"SOL"}),
        ("SOL beats everything", {"SOL"}),
        ("el sol y la luna", set()),
        ("BTC/USDT and SOL-USD and ADAUSDT", {"BTC", "SOL", "ADA"}),
        ("ETH/BTC breaks out", {"ETH"}),
        ("Bitcoin Cash forks", {"BCH"}),
        ("Ethereum Classic is attacked, Ethereum is not", {"ETC", "ETH"}),
        ("The price is $100, $1INCH or $", set()),
        ("btc, eth, etc.", {"BTC", "ETH"}),
        ("Polkadot (DOT) wins", {"DOT"}),
        ("#Bitcoin #BTC", {"BTC"}),
        ("USDC and BUSD", {"USDC"}),
        ("US$5 for my wallet", set()),
    ],
)
def test_assets_are_found_by_cashtag_pair_name_and_ticker(text: str, assets: set[str]) -> None:
    assert set(LINKER.links(text)) == assets


@pytest.mark.parametrize(
    ("text", "assets"),
    [
        ("LINK in bio", set()),
        ("the LINK token", {"LINK"}),
        ("click the link to the crypto wallet", set()),
        ("Bitcoin near $40k, near its high", {"BTC"}),
        ("Crypto Donations Near $20M", set()),
        ("NEAR and SOL rally", {"NEAR", "SOL"}),
        ("$NEAR", {"NEAR"}),
        ("NEAR/USDT", {"NEAR"}),
        ("one bitcoin is one bitcoin", {"BTC"}),
        ("THE ONE AND ONLY BITCOIN NEAR ITS HIGH", {"BTC"}),
        ("ONE more thing", set()),
        ("GAS prices rise in Texas", set()),
        ("NEO and GAS", {"NEO", "GAS"}),
        ("connect the DOT", set()),
        ("staking DOT and ATOM", {"DOT", "ATOM"}),
        ("An avalanche of lawsuits", set()),
        ("Avalanche hits a ski resort", set()),
        ("The Avalanche ecosystem grows", {"AVAX"}),
    ],
)
def test_an_ambiguous_word_counts_as_cashtag_or_beside_a_crypto_word(
    text: str, assets: set[str]
) -> None:
    assert set(LINKER.links(text)) == assets


def test_company_must_be_near() -> None:
    assert LINKER.links("the coin is up and now LINK") == {}


def test_a_ticker_of_ours_that_no_list_knows_is_taken_for_a_word() -> None:
    linker = AssetLinker(["MOVE"])

    assert linker.links("MOVE over") == {}
    assert linker.links("the MOVE token") == {"MOVE": 1.0}
    assert linker.links("$MOVE") == {"MOVE": 1.0}
    assert LINKER.links("$MOVE") == {}


def test_relevance_is_the_share_of_mentions() -> None:
    assert LINKER.links("Bitcoin, BTC and bitcoin again; then ETH") == {"BTC": 0.75, "ETH": 0.25}


def test_no_word_is_both_plain_and_ambiguous() -> None:
    names = {name for names in NAMES.values() for name in names}

    assert not PLAIN_TICKERS & AMBIGUOUS_TICKERS
    assert not names & set(AMBIGUOUS_NAMES)
    assert not names & {ticker.lower() for ticker in AMBIGUOUS_TICKERS}
