"""What words mean in crypto markets, on the scale of VADER's lexicon (−4 … 4)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

_GROUPS: Final[Mapping[float, str]] = {
    2.6: "bullish skyrocket skyrockets skyrocketed skyrocketing",
    2.2: "soar soars soared soaring moon mooning moonshot ath wagmi bullrun",
    2.0: "rally rallies rallied rallying surge surges surged surging",
    1.6: "bull bulls breakout rebound rebounds rebounded uptrend undervalued underrated outperform "
    "outperforms outperformed hodl hodling approval approves approved gains gainz lambo legit gem "
    "upside",
    1.3: "recover recovers recovered recovery adopt adopts adopted adoption inflow inflows "
    "accumulate accumulating partnership upgrade upgrades milestone jumps jumped climbs climbed",
    -1.3: "fud fomo outflow outflows slides drops dropped falls fell halts halted downside gamble "
    "gambling centralized volatile copium",
    -1.6: "bear bears bubble overvalued overrated overhyped downtrend bagholder bagholders "
    "crackdown lawsuit lawsuits sues sued ban bans banned shill shills shilling sketchy bleed "
    "bleeds bleeding manipulation manipulated",
    -2.0: "dump dumps dumped dumping slump slumps slumped tumble tumbles tumbled selloff sell-off "
    "tank tanks tanked tanking liquidation liquidations liquidated delist delists delisted "
    "delisting capitulation sinks ngmi vaporware pyramid",
    -2.5: "bearish hack hacks hacked hacker hackers exploit exploits exploited plunge plunges "
    "plunged plunging plummet plummets plummeted nosedive nosedives worthless ripoff shitcoin "
    "shitcoins",
    -2.8: "crash crashes crashed crashing rekt rug rugged rugpull depeg depegs depegged insolvent "
    "insolvency bankrupt bankruptcy",
    -3.0: "scam scams scammer scammers ponzi",
}
OVERLAY: Final[Mapping[str, float]] = {
    word: valence for valence, group in _GROUPS.items() for word in group.split()
}
