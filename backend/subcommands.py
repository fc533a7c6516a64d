"""Commands in groups: models, features, instruments, keys, jobs, notifications and the rest."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated, Final, Optional

import typer

from backend.durations import duration, moment, names
from backend.flags import Comments, Horizon, Job, KeyId, Named, State, Text, Version, settings_of

models_app = typer.Typer(help="The models that serve and those on trial.", no_args_is_help=True)
features_app = typer.Typer(help="The rows that models read.", no_args_is_help=True)
instruments_app = typer.Typer(help="What is watched.", no_args_is_help=True)
keys_app = typer.Typer(help="Who may call.", no_args_is_help=True)
notify_app = typer.Typer(help="Who is told what.", no_args_is_help=True)
jobs_app = typer.Typer(help="Work that was asked for.", no_args_is_help=True)
dead_letters_app = typer.Typer(help="Records that could not be taken in.", no_args_is_help=True)
dashboard_app = typer.Typer(help="The dashboard's cache.", no_args_is_help=True)
sentiment_app = typer.Typer(help="The scorer of texts.", no_args_is_help=True)
plugins_app = typer.Typer(help="Models and features that others wrote.", no_args_is_help=True)
MOST: Final = 1_000_000  # of anything that a flag counts
Limit = Annotated[int, typer.Option(min=1, max=MOST, help="Lines, the newest.")]
LARGEST: Final = 2**31 - 1  # seed that is kept
GROUPS: Final = {
    "instruments": instruments_app,
    "keys": keys_app,
    "notify": notify_app,
    "jobs": jobs_app,
    "models": models_app,
    "features": features_app,
    "dashboard": dashboard_app,
    "dead-letters": dead_letters_app,
    "sentiment": sentiment_app,
    "plugins": plugins_app,
}


@models_app.command("list", epilog="Example: alphapulse models list")
def models_list(*, state: State = None) -> None:
    """Every registered version with its role."""
    from backend.models import list_models  # noqa: PLC0415 - imports what it needs

    asyncio.run(list_models(settings_of(state=state)))


@models_app.command("show", epilog="Example: alphapulse models show lightgbm.direction@3")
def models_show(
    *,
    model: Version,
    exchange: Text = None,
    timeframe: Text = None,
    horizon: Horizon = None,
    state: State = None,
) -> None:
    """Where a version came from, what it was judged by, and what was decided about it."""
    from backend.models import Wanted, show_model  # noqa: PLC0415 - imports what it needs

    wanted = Wanted.parse(model, exchange, timeframe, horizon)
    asyncio.run(show_model(wanted, settings_of(state=state)))


@models_app.command("reproduce", epilog="Example: alphapulse models reproduce xgboost.volatility@2")
def models_reproduce(
    *,
    model: Version,
    exchange: Text = None,
    timeframe: Text = None,
    horizon: Horizon = None,
    state: State = None,
) -> None:
    """Fit a version again from its row; exit 1 unless the same artifact comes out."""
    from backend.models import Wanted, reproduce_model  # noqa: PLC0415 - imports what it needs

    wanted = Wanted.parse(model, exchange, timeframe, horizon)
    raise typer.Exit(asyncio.run(reproduce_model(wanted, settings_of(state=state))))


@models_app.command("rollback", epilog="Example: alphapulse models rollback lightgbm.direction")
def models_rollback(
    *,
    model: Annotated[str, typer.Argument(help="NAME, as `models list` spells it.")],
    exchange: Text = None,
    timeframe: Text = None,
    horizon: Horizon = None,
    state: State = None,
) -> None:
    """Take a model's version from its place; the one before it comes back."""
    from backend.models import Wanted, roll_back_model  # noqa: PLC0415 - imports what it needs

    wanted = Wanted.parse(model, exchange, timeframe, horizon)
    asyncio.run(roll_back_model(wanted, settings_of(state=state)))


@models_app.command("mirror", epilog="Example: alphapulse models mirror --to http://127.0.0.1:5000")
def models_mirror(
    *,
    to: Annotated[str, typer.Option(help="Of an MLflow server, or sqlite:///FILE.")],
    state: State = None,
) -> None:
    """Copy every version that is not there yet to MLflow; the aliases stand as here."""
    from backend.models import mirror_models  # noqa: PLC0415 - imports what it needs

    asyncio.run(mirror_models(to, settings_of(state=state)))


@models_app.command("train", epilog="Example: alphapulse models train")
def models_train(
    *,
    exchange: Text = None,
    timeframe: Text = None,
    horizon: Horizon = None,
    state: State = None,
) -> None:
    """Let the running system fit its models now, not at the next time of its schedule."""
    from backend.job_orders import train_models  # noqa: PLC0415 - imports what it needs

    place = {"exchange": exchange, "timeframe": timeframe, "horizon": horizon}
    asyncio.run(train_models(place, settings_of(state=state)))


@models_app.command(
    "search", epilog="Example: alphapulse models search lightgbm.volatility --trials 30"
)
def models_search(  # noqa: PLR0913 - a flag each
    *,
    model: Annotated[str, typer.Argument(help="NAME, as training.kinds spells it.")],
    trials: Annotated[int, typer.Option(min=2, max=MOST, help="Of it, its first included.")] = 30,
    seed: Annotated[int, typer.Option(min=0, max=LARGEST, help="Of a new search.")] = 7,
    exchange: Text = None,
    timeframe: Text = None,
    horizon: Horizon = None,
    toml: Annotated[bool, typer.Option("--toml", help="Print the variant in any case.")] = False,
    state: State = None,
) -> None:
    """Search for parameters before the locked holdout; each trial counts, a kill loses none."""
    from backend.search import SearchPlan, search_parameters  # noqa: PLC0415 - imports what it needs
    from domain.market import Timeframe  # noqa: PLC0415 - the same

    plan = SearchPlan(
        model=model,
        trials=trials,
        seed=seed,
        exchange=exchange,
        timeframe=Timeframe.parse(timeframe) if timeframe else None,
        horizon=horizon,
        toml=toml,
    )
    asyncio.run(search_parameters(plan, settings_of(state=state)))


@features_app.command("audit", epilog="Example: alphapulse features audit --sample 500")
def features_audit(
    *,
    sample: Annotated[int, typer.Option(min=1, max=MOST, help="Rows, of all timeframes.")] = 200,
    since: Annotated[Optional[str], typer.Option(help="No row of an earlier close.")] = None,  # noqa: UP045 - typer reads it
    seed: Annotated[int, typer.Option(min=0, max=LARGEST, help="Of the sample.")] = 7,
    state: State = None,
) -> None:
    """Derive a sample of stored feature rows again from the candles; exit 1 if any differs."""
    from backend.features import audit_features  # noqa: PLC0415 - imports what it needs

    start = moment(since) if since else None
    in_force = settings_of(state=state)
    raise typer.Exit(asyncio.run(audit_features(in_force, count=sample, seed=seed, since=start)))


@features_app.command("retire", epilog="Example: alphapulse features retire ohlcv@1")
def features_retire(
    name: Annotated[str, typer.Argument(metavar="SET", help="That is made no more.")],
    *,
    with_seats: Annotated[bool, typer.Option(help="Members that read it go too.")] = False,
    state: State = None,
) -> None:
    """Have the candidate set take the place of the one before it, from the next start on."""
    from backend.features import retire_set  # noqa: PLC0415 - imports what it needs

    asyncio.run(retire_set(settings_of(state=state), name, with_seats=with_seats))


@instruments_app.command("list", epilog="Example: alphapulse instruments list")
def instruments_list(*, state: State = None) -> None:
    """What is watched, and what was."""
    from backend.instruments import list_instruments  # noqa: PLC0415 - imports what it needs

    asyncio.run(list_instruments(settings_of(state=state)))


@instruments_app.command("add", epilog="Example: alphapulse instruments add kraken:SOL/USD")
def instruments_add(*, instrument: Named, state: State = None) -> None:
    """Watch one more while the system runs: history, warm-up, first prediction."""
    from backend.instruments import add_instrument  # noqa: PLC0415 - imports what it needs

    asyncio.run(add_instrument(instrument, settings_of(state=state)))


@instruments_app.command("remove", epilog="Example: alphapulse instruments remove kraken:SOL/USD")
def instruments_remove(*, instrument: Named, state: State = None) -> None:
    """Watch it no more; its history stays, its open signals are closed."""
    from backend.instruments import remove_instrument  # noqa: PLC0415 - imports what it needs

    asyncio.run(remove_instrument(instrument, settings_of(state=state)))


@keys_app.command(
    "create",
    epilog="Example: alphapulse keys create grafana --scope read --instruments 'binance:*'"
    " --expires 90d > key",
)
def keys_create(  # noqa: PLR0913 - a flag each
    *,
    name: Annotated[str, typer.Argument(help="What it is for.")],
    scope: Annotated[str, typer.Option(help="Of read, stream, operate.")] = "read,stream",
    instruments: Annotated[
        Optional[str],  # noqa: UP045 - typer reads it
        typer.Option(help="Patterns: binance:BTC/USDT,kraken:*. All where not given."),
    ] = None,
    quota: Annotated[int, typer.Option(min=1, max=MOST, help="Requests a minute.")] = 600,
    connections: Annotated[int, typer.Option(min=1, max=MOST, help="Sockets at a time.")] = 20,
    expires: Annotated[Optional[str], typer.Option(help="After, e.g. 90d.")] = None,  # noqa: UP045
    state: State = None,
) -> None:
    """Make a key; it goes to stdout, once, and all else to stderr."""
    from backend.keys import NewKey, create_key  # noqa: PLC0415 - imports what it needs

    wanted = NewKey(
        name=name,
        scopes=names(scope) or [],
        instruments=names(instruments),
        quota=quota,
        connections=connections,
        lasts=duration(expires) if expires is not None else None,
    )
    asyncio.run(create_key(wanted, settings_of(state=state)))


@keys_app.command("list", epilog="Example: alphapulse keys list")
def keys_list(*, state: State = None) -> None:
    """Every key by its id, what it may do, and the day on which it was used last."""
    from backend.keys import list_keys  # noqa: PLC0415 - imports what it needs

    asyncio.run(list_keys(settings_of(state=state)))


@keys_app.command("revoke", epilog="Example: alphapulse keys revoke 0123456789ab")
def keys_revoke(*, key: KeyId, state: State = None) -> None:
    """End a key for good; a running system refuses it within a second or two."""
    from backend.keys import revoke_key  # noqa: PLC0415 - imports what it needs

    asyncio.run(revoke_key(key, settings_of(state=state)))


@keys_app.command("audit", epilog="Example: alphapulse keys audit --since 2026-01-31")
def keys_audit(
    *,
    since: Annotated[Optional[str], typer.Option(help="Nothing earlier.")] = None,  # noqa: UP045
    limit: Limit = 100,
    state: State = None,
) -> None:
    """Every change that was asked for and every request that was refused, with its caller."""
    from backend.keys import show_audit  # noqa: PLC0415 - imports what it needs

    start = moment(since) if since else None
    asyncio.run(show_audit(settings_of(state=state), since=start, limit=limit))


@notify_app.command("list", epilog="Example: alphapulse notify list dead")
def notify_list(
    *,
    which: Annotated[Optional[str], typer.Argument(help="pending, sent or dead; or all.")] = None,  # noqa: UP045
    channel: Text = None,
    limit: Limit = 100,
    state: State = None,
) -> None:
    """Notifications, the newest first, and what became of each."""
    from backend.notifications import list_notifications  # noqa: PLC0415 - imports what it needs

    in_force = settings_of(state=state)
    asyncio.run(list_notifications(in_force, state=which, channel=channel, limit=limit))


@notify_app.command("retry", epilog="Example: alphapulse notify retry --channel ops")
def notify_retry(
    *,
    ids: Annotated[Optional[list[str]], typer.Argument(metavar="ID…")] = None,  # noqa: UP045
    channel: Annotated[Optional[str], typer.Option(help="All dead letters of it.")] = None,  # noqa: UP045
    state: State = None,
) -> None:
    """Let dead letters be tried again, under the ids that they had."""
    from backend.notifications import retry_notifications  # noqa: PLC0415 - imports what it needs

    asyncio.run(retry_notifications(settings_of(state=state), ids or [], channel=channel))


@notify_app.command("test", epilog="Example: alphapulse notify test ops")
def notify_test(
    *,
    channel: Annotated[str, typer.Argument(help="As the settings name it.")],
    state: State = None,
) -> None:
    """Send something that says that it is a test; exit 1 where it is not taken."""
    from backend.notifications import try_channel  # noqa: PLC0415 - imports what it needs

    asyncio.run(try_channel(settings_of(state=state), channel))


@jobs_app.command("list", epilog="Example: alphapulse jobs list")
def jobs_list(*, limit: Limit = 100, state: State = None) -> None:
    """What was asked for, by whom, and how far it is."""
    from backend.job_orders import list_jobs  # noqa: PLC0415 - imports what it needs

    asyncio.run(list_jobs(settings_of(state=state), limit=limit))


@jobs_app.command(
    "show", epilog="Example: alphapulse jobs show 6f2c3c1e-9c41-4f0b-8d0f-0c5b7c3a9e55"
)
def jobs_show(*, job: Job, state: State = None) -> None:
    """One job with its progress and result."""
    from backend.job_orders import show_job  # noqa: PLC0415 - imports what it needs

    asyncio.run(show_job(job, settings_of(state=state)))


@jobs_app.command(
    "cancel", epilog="Example: alphapulse jobs cancel 6f2c3c1e-9c41-4f0b-8d0f-0c5b7c3a9e55"
)
def jobs_cancel(*, job: Job, state: State = None) -> None:
    """End what of an order nobody has begun, as one that waits for a process that is away."""
    from backend.job_orders import cancel_job  # noqa: PLC0415 - imports what it needs

    asyncio.run(cancel_job(job, settings_of(state=state)))


@dashboard_app.command("rebuild", epilog="Example: alphapulse dashboard rebuild")
def dashboard_rebuild(*, state: State = None) -> None:
    """Compute every panel again from the tables."""
    from backend.upkeep import rebuild_dashboard  # noqa: PLC0415 - imports what it needs

    asyncio.run(rebuild_dashboard(settings_of(state=state)))


@sentiment_app.command("evaluate", epilog="Example: alphapulse sentiment evaluate comments.parquet")
def sentiment_evaluate(*, comments: Comments) -> None:
    """Cross-validate the scorers on labelled comments: what `docs/benchmarks.md` quotes."""
    from backend.text_scorer import evaluate_text_scorer  # noqa: PLC0415 - imports what it needs

    evaluate_text_scorer(comments)


@sentiment_app.command(
    "train", epilog="Example: alphapulse sentiment train comments.parquet --out blend.json"
)
def sentiment_train(
    *, comments: Comments, out: Annotated[Path, typer.Option(help="Where to write the artifact.")]
) -> None:
    """Fit the scorer on labelled comments, the way the shipped one was."""
    from backend.text_scorer import train_text_scorer  # noqa: PLC0415 - imports what it needs

    train_text_scorer(comments, out)


@plugins_app.command("list", epilog="Example: alphapulse plugins list")
def plugins_list(*, state: State = None) -> None:
    """What is installed or lies in the state folder's `plugins/`, and what is switched on."""
    from backend.plugin_checks import list_plugins  # noqa: PLC0415 - imports what it needs

    list_plugins(settings_of(state=state))


@plugins_app.command("check", epilog="Example: alphapulse plugins check forest")
def plugins_check(
    *,
    name: Annotated[str, typer.Argument(help="NAME, as `plugins list` spells it.")],
    state: State = None,
) -> None:
    """Put a plug-in through the contract suite; exit 1 when a check fails."""
    from backend.plugin_checks import check_plugin  # noqa: PLC0415 - imports what it needs

    raise typer.Exit(asyncio.run(check_plugin(name, settings_of(state=state))))


@dead_letters_app.command("list", epilog="Example: alphapulse dead-letters list")
def dead_letters_list(*, state: State = None) -> None:
    """Records of the bus that could not be taken in: where from, why, whether they are replayed."""
    from backend.dead_letters import list_dead_letters  # noqa: PLC0415 - imports what it needs

    asyncio.run(list_dead_letters(settings_of(state=state)))


@dead_letters_app.command("replay", epilog="Example: alphapulse dead-letters replay")
def dead_letters_replay(*, state: State = None) -> None:
    """Put those that were not replayed on their topics again."""
    from backend.dead_letters import replay_dead_letters  # noqa: PLC0415 - imports what it needs

    asyncio.run(replay_dead_letters(settings_of(state=state)))
