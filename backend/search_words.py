"""What a search found, in words, and as a table of the settings file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

NAMED_BY: Final = 6  # digits of the hash of the parameters


def told(place: object, found: Mapping[str, Any], *, toml: bool) -> Iterator[str]:
    """Line by line.

    Args:
        place: exchange, timeframe, horizon and model.
        found: as the record has it.
        toml: end with the variant though the holdout speaks against it.
    """
    yield (
        f"{place}: {found['trials']} trials, {found['n_trials']} in all searches here; "
        f"loss before the holdout {found['loss']:.6g}, "
        f"with the kind's own parameters {found['own_loss']:.6g}"
    )
    holdout = found.get("holdout")
    if holdout is None:
        yield "nothing was better than the kind's own parameters; the holdout was not read"
        return
    yield from _verdict(holdout)
    if toml or (holdout["gain"] or 0.0) > 0:
        yield "\n" + variant_toml(found["model"], found["differing"], found["n_trials"])


def variant_toml(model: str, differing: Mapping[str, Any], n_trials: int) -> str:
    """The variant as the settings file wants it; other parameters are another name.

    >>> print(variant_toml("oak.direction", {"depth": 3}, 30))
    [training.variants.oak_2b60cd]
    kind = "oak"
    trials = 30
    direction = { depth = 3 }
    # It is fitted where training.kinds names "oak_2b60cd.direction".
    """
    kind, _, target = model.partition(".")
    text = json.dumps(differing, sort_keys=True)
    name = f"{kind}_{hashlib.sha256(text.encode()).hexdigest()[:NAMED_BY]}"
    return "\n".join(
        (
            f"[training.variants.{name}]",
            f'kind = "{kind}"',
            f"trials = {n_trials}",
            f"{target} = {{ {listed(differing)} }}",
            f'# It is fitted where training.kinds names "{name}.{target}".',
        )
    )


def _verdict(holdout: Mapping[str, Any]) -> list[str]:
    """What the holdout said, in words."""
    said = [
        f"on the holdout, read once: loss {_number(holdout['loss'])}, "
        f"with the kind's own parameters {_number(holdout['own_loss'])}"
    ]
    gain, low, high = (holdout[name] for name in ("gain", "low95", "high95"))
    if gain is None or low is None or high is None:
        return [*said, f"{holdout['blocks']} blocks are too few to say whether that is chance"]
    said.append(
        f"gain {gain:+.6g}, 95 % interval {low:+.6g} to {high:+.6g} "
        f"over {holdout['blocks']} blocks, p = {holdout['p_better']:.2g}"
    )
    if gain <= 0:
        said.append("it is worse there: better before the holdout was chance, or is past")
    elif low <= 0:
        said.append("that may be chance; a challenge in the shadow of the pool will tell")
    return said


def listed(parameters: Mapping[str, Any]) -> str:
    """As TOML has them."""
    return ", ".join(f"{name} = {json.dumps(value)}" for name, value in sorted(parameters.items()))


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.6g}"
