"""Assets by name: words that mean nothing else, and words that need company."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from services.sentiment.words import listed

# In any spelling these mean the asset. A ticker stands here where it is no word in lower case.
NAMES: Final[Mapping[str, tuple[str, ...]]] = {
    "AAVE": ("aave",),
    "ADA": ("cardano",),
    "ALGO": ("algorand",),
    "APT": ("aptos",),
    "ARB": ("arbitrum",),
    "AVAX": ("avax",),
    "AXS": ("axs", "axie infinity"),
    "BCH": ("bch", "bitcoin cash"),
    "BNB": ("bnb", "binance coin"),
    "BSV": ("bsv", "bitcoin sv"),
    "BTC": ("bitcoin", "bitcoins", "btc", "xbt"),
    "CRO": ("cronos",),
    "CRV": ("crv",),
    "DOGE": ("dogecoin", "doge"),
    "DOT": ("polkadot",),
    "EGLD": ("egld", "multiversx", "elrond"),
    "ETC": ("ethereum classic",),
    "ETH": ("ethereum", "eth", "ether"),
    "FIL": ("filecoin",),
    "FTM": ("ftm",),
    "FTT": ("ftt",),
    "GRT": ("grt",),
    "HBAR": ("hbar", "hedera"),
    "HYPE": ("hyperliquid",),
    "ICP": ("icp", "internet computer"),
    "KAS": ("kaspa",),
    "KSM": ("ksm", "kusama"),
    "LDO": ("ldo",),
    "LINK": ("chainlink",),
    "LRC": ("lrc", "loopring"),
    "LTC": ("ltc", "litecoin"),
    "LUNC": ("lunc", "luna classic", "terra classic"),
    "MANA": ("decentraland",),
    "MATIC": ("matic",),
    "MKR": ("mkr", "makerdao"),
    "NEAR": ("near protocol",),
    "PAXG": ("paxg", "pax gold"),
    "PEPE": ("pepecoin",),
    "QNT": ("qnt",),
    "RNDR": ("rndr",),
    "RUNE": ("thorchain",),
    "SHIB": ("shib", "shiba inu"),
    "SNX": ("snx", "synthetix"),
    "SOL": ("solana",),
    "STX": ("stx",),
    "TIA": ("celestia",),
    "TON": ("toncoin",),
    "TRX": ("trx",),
    "UNI": ("uniswap",),
    "USDC": ("usdc", "usd coin"),
    "USDT": ("usdt", "tether"),
    "UST": ("terrausd",),
    "VET": ("vechain",),
    "XLM": ("xlm",),
    "XMR": ("xmr", "monero"),
    "XRP": ("xrp",),
    "XTZ": ("xtz", "tezos"),
    "ZEC": ("zec", "zcash"),
}
# These mean the asset when they stand in capitals.
PLAIN_TICKERS: Final = listed(
    "ADA ALGO ARB DAI EOS FIL IMX INJ IOTA KAS LUNA NEO ONDO PEPE SOL THETA UNI UST VET"
)
# Tickers that are words, among others: they count as cashtags, as pairs, or in capitals beside
# another crypto word. A ticker on no list is treated like these.
AMBIGUOUS_TICKERS: Final = listed(
    "APE APT ATOM BAT BONK COMP CRO DASH DOT ETC FET FLOW GALA GAS HOT HYPE ID JUP KEY LINK LIT "
    "MAGIC MANA MASK NEAR ONE OP PEOPLE POL RAY RENDER RUNE SAND SEI SUI SUN SUPER TIA TON TRUMP "
    "WAVES WIN"
)
# Names that are words: they count with a capital, beside another crypto word. Words that headlines
# use every day (near, one, stellar, optimism) are not here: Title Case Makes Names of Them.
AMBIGUOUS_NAMES: Final[Mapping[str, str]] = {
    "avalanche": "AVAX",
    "cosmos": "ATOM",
    "fantom": "FTM",
    "injective": "INJ",
    "iota": "IOTA",
    "luna": "LUNA",
    "polygon": "MATIC",
    "ripple": "XRP",
    "terra": "LUNA",
    "tron": "TRX",
}
CRYPTO_WORDS: Final = listed(
    "airdrop altcoin altcoins bearish blockchain bullish chain coin coins crypto cryptocurrency "
    "dao dapp dapps defi dex ecosystem foundation hodl holder holders ico labs mainnet memecoin "
    "nft nfts parachain protocol stablecoin stake staked staking testnet token tokens tvl "
    "validator validators wallet"
)
