"""Streams over REST: heads, and events with their chain."""

from __future__ import annotations

from hashlib import sha256

import httpx

from tests.served_market import TICKS, ServedMarket, drop_events

SIGNALS = "signals.1h.simulated.BTC/USDT"


async def test_a_head_is_where_the_last_event_left_the_chain(rest: httpx.AsyncClient) -> None:
    head = (await rest.get(f"/v1/streams/{SIGNALS}/head")).json()["data"][0]
    events = (await rest.get(f"/v1/streams/{SIGNALS}/events")).json()["data"]

    assert (head["stream"], head["offset"], head["epoch"]) == (SIGNALS, TICKS, events[0]["epoch"])
    assert head["hash"] == events[-1]["hash"]


async def test_the_chain_can_be_recomputed_from_what_is_answered(rest: httpx.AsyncClient) -> None:
    text = (await rest.get(f"/v1/streams/{SIGNALS}/events", params={"since": 20})).text
    previous = ""
    for piece in text.split('{"stream":')[1:]:
        about, _, rest_of = piece.partition('"data":')
        data = rest_of[: rest_of.index("}}") + 1]
        fields = {
            name: about.partition(f'"{name}":')[2].split(",")[0].strip('"')
            for name in ("previous_hash", "epoch", "offset", "event", "as_of", "ts", "hash")
        }
        said = (fields["previous_hash"], SIGNALS, fields["epoch"], fields["offset"])
        lines = "\n".join((*said, fields["event"], fields["as_of"], fields["ts"], data))
        assert sha256(lines.encode()).hexdigest() == fields["hash"]
        assert previous in ("", fields["previous_hash"])
        previous = fields["hash"]


async def test_pages_of_events_follow_each_other(
    rest: httpx.AsyncClient, market: ServedMarket
) -> None:
    path, told, since = f"/v1/streams/{SIGNALS}/events", [], "0"
    while since is not None:
        page = (await rest.get(path, params={"since": since, "limit": 11})).json()
        told += [one["data"] for one in page["data"]]
        since = page["next"]

    assert told == await market.told(SIGNALS)


async def test_what_is_not_there_is_a_problem(rest: httpx.AsyncClient) -> None:
    unknown = await rest.get("/v1/streams/signals.1h.simulated.BTC/USD/head")
    anew = await rest.get(f"/v1/streams/{SIGNALS}/events", params={"since": 1, "epoch": "x"})
    beyond = await rest.get(f"/v1/streams/{SIGNALS}/events", params={"since": TICKS + 2})
    mistaken = await rest.get(f"/v1/streams/{SIGNALS}/events", params={"since": "-1"})

    assert (unknown.status_code, unknown.json()["code"]) == (404, "unknown_stream")
    assert unknown.json()["suggestions"][0] == SIGNALS
    assert (anew.status_code, beyond.status_code, mistaken.status_code) == (410, 404, 422)


async def test_events_that_are_no_longer_kept_are_not_passed_over(
    rest: httpx.AsyncClient, market: ServedMarket
) -> None:
    path = f"/v1/streams/{SIGNALS}/events"
    last = (await rest.get(path, params={"limit": 10})).json()["data"][-1]
    dropped = await drop_events(market, 10)

    before = await rest.get(path, params={"since": dropped - 1})
    all_of_it = (await rest.get(path, params={"since": dropped})).json()["data"]
    unasked = (await rest.get(path)).json()["data"]
    backwards = (await rest.get(path, params={"order": "desc"})).json()["data"]

    assert (before.status_code, before.json()["code"]) == (404, "unknown_offset")
    assert f"up to {dropped} are no longer kept" in before.json()["detail"]
    assert all_of_it == unasked == backwards[::-1]
    assert [one["offset"] for one in unasked] == [*range(dropped + 1, TICKS + 1)]
    assert unasked[0]["previous_hash"] == last["hash"]
