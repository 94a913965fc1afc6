"""The command line: ``kafkalab`` is the window, ``kafkalab serve`` the cluster without one.

Each command imports what it needs when it runs, so that ``serve`` never loads Qt.
"""

from __future__ import annotations

import gc
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, cast

import typer

from kafkalab import __version__

if TYPE_CHECKING:
    from kafkalab.engine.cluster.host import Isolation

LOG_FORMAT: Final = "%(asctime)s %(levelname)s %(message)s"
LOG_LEVELS: Final = ("debug", "info", "warning", "error")

commands = typer.Typer(
    name="kafkalab",
    help="A real Kafka cluster in a window: start it, connect a client to it, break it, and watch.",
    add_completion=False,
    no_args_is_help=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

DataDir = Annotated[Path | None, typer.Option("--data-dir", metavar="DIR", help="Where the nodes keep their files.")]
Combined = Annotated[bool, typer.Option("--combined", help="Each node is both broker and controller.")]
Config = Annotated[list[str] | None, typer.Option("--config", metavar="KEY=VALUE", help="A broker setting; may be repeated.")]
ConfigFile = Annotated[Path | None, typer.Option("--config-file", metavar="FILE", help="A server.properties; --config wins over it.")]
IsolationOption = Annotated[str, typer.Option("--isolation", help="thread: all nodes in this process; process: each in its own.")]
LogDirs = Annotated[int, typer.Option("--log-dirs", metavar="N", help="How many log directories each node has; one may fail by itself.")]
LogLevel = Annotated[str, typer.Option("--log-level", help="debug, info, warning or error, on standard error.")]


@contextmanager
def _modules_that_stay() -> Iterator[None]:
    """Import without the garbage collector, which finds nothing there, now or later: whole collections take a third less."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def _set_up_log(level: str) -> None:
    if level not in LOG_LEVELS:
        raise typer.BadParameter(f"{level!r} is not one of {', '.join(LOG_LEVELS)}", param_hint="--log-level")
    logging.basicConfig(stream=sys.stderr, format=LOG_FORMAT, level=logging.WARNING)
    logging.getLogger("kafkalab").setLevel(level.upper())


@commands.callback(invoke_without_command=True)
def _default(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and end.")] = False,
) -> None:
    if version:
        typer.echo(f"kafkalab {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        context.invoke(app)


@commands.command()
def app(
    brokers: Annotated[int | None, typer.Option(help="How many brokers (3).")] = None,
    controllers: Annotated[int | None, typer.Option(help="How many KRaft controllers (3).")] = None,
    combined: Combined = False,
    port: Annotated[int | None, typer.Option(help="Broker i listens on PORT + i - 1 (9092); 0 takes free ports.")] = None,
    data_dir: DataDir = None,
    config: Config = None,
    config_file: ConfigFile = None,
    isolation: IsolationOption = "thread",
    log_dirs: LogDirs = 1,
    log_level: LogLevel = "info",
) -> None:
    """The window, over a cluster that is kept in your user data folder unless --data-dir says otherwise."""
    _set_up_log(log_level)
    from kafkalab.engine.cluster.settings import node_settings, read_settings
    from kafkalab.engine.common.config import ConfigError

    if isolation not in ("thread", "process"):
        raise typer.BadParameter(f"{isolation!r} is neither thread nor process", param_hint="--isolation")
    try:
        settings = read_settings(tuple(config or ()), config_file)
        node_settings(settings, brokers or 3)
    except ConfigError as e:
        typer.echo(f"kafkalab app: {e}", err=True)
        raise typer.Exit(2) from None
    from kafkalab.engine.cluster.remote_host import spawn_host_process

    # It loads the engine while this process loads the window.
    process = spawn_host_process()
    from kafkalab.app import main as run_window

    code = run_window(
        brokers=brokers,
        controllers=controllers,
        combined=combined,
        port=port,
        data_dir=data_dir,
        config=settings,
        isolation=cast("Isolation", isolation),
        log_dirs=log_dirs,
        process=process,
    )
    raise typer.Exit(code)


@commands.command()
def serve(
    brokers: Annotated[int, typer.Option(help="How many brokers.")] = 3,
    controllers: Annotated[int, typer.Option(help="How many KRaft controllers.")] = 3,
    combined: Combined = False,
    port: Annotated[int, typer.Option(help="Broker i listens on PORT + i - 1; 0 takes free ports.")] = 9092,
    data_dir: DataDir = None,
    config: Config = None,
    config_file: ConfigFile = None,
    isolation: IsolationOption = "thread",
    log_dirs: LogDirs = 1,
    orders: Annotated[bool, typer.Option("--orders", help="Read orders from standard input: isolate 1 2, kill 3, heal, …")] = False,
    log_level: LogLevel = "info",
) -> None:
    """The cluster without a window. SIGTERM and SIGINT stop it in order."""
    _set_up_log(log_level)
    with _modules_that_stay():
        from kafkalab.cli.serve import ServeOptions, run

    options = ServeOptions(
        brokers=brokers,
        controllers=controllers,
        combined=combined,
        port=port,
        data_dir=data_dir,
        config=tuple(config or ()),
        config_file=config_file,
        isolation=isolation,
        log_dirs=log_dirs,
        orders=orders,
    )
    raise typer.Exit(run(options))


@commands.command(name="dump-log")
def dump_log(
    files: Annotated[
        str, typer.Option("--files", metavar="FILE,…", help="Files of a log directory, or whole directories, separated by commas.")
    ],
    print_data_log: Annotated[bool, typer.Option("--print-data-log", help="Print keys and values.")] = False,
    deep_iteration: Annotated[bool, typer.Option("--deep-iteration", help="Look into batches: one line per record.")] = False,
    cluster_metadata_decoder: Annotated[bool, typer.Option("--cluster-metadata-decoder", help="Values are metadata records.")] = False,
    offsets_decoder: Annotated[bool, typer.Option("--offsets-decoder", help="Records are those of __consumer_offsets.")] = False,
    transaction_log_decoder: Annotated[
        bool, typer.Option("--transaction-log-decoder", help="Records are those of __transaction_state.")
    ] = False,
    share_group_state_decoder: Annotated[
        bool, typer.Option("--share-group-state-decoder", help="Records are those of __share_group_state.")
    ] = False,
    skip_record_metadata: Annotated[bool, typer.Option("--skip-record-metadata", help="Only keys and values of records.")] = False,
    verify_index_only: Annotated[bool, typer.Option("--verify-index-only", help="Compare indexes with the log, print no entries.")] = False,
    index_sanity_check: Annotated[
        bool, typer.Option("--index-sanity-check", help="Only what a broker checks of an index when it starts.")
    ] = False,
    max_bytes: Annotated[int | None, typer.Option("--max-bytes", min=1, help="Stop after so many bytes of each log.")] = None,
) -> None:
    """What is in Kafka's files, printed as Kafka's own tool prints it. Nothing is written; a node may be running on them."""
    decoders = {
        "metadata": cluster_metadata_decoder,
        "offsets": offsets_decoder,
        "transactions": transaction_log_decoder,
        "share": share_group_state_decoder,
    }
    asked = [name for name, wanted in decoders.items() if wanted]
    if len(asked) > 1:
        raise typer.BadParameter("only one decoder can be at work", param_hint="--…-decoder")
    from kafkalab.cli.dump_log import DumpOptions, run

    options = DumpOptions(
        files=tuple(Path(name) for name in files.split(",") if name),
        print_data=print_data_log,
        deep=deep_iteration,
        skip_record_metadata=skip_record_metadata,
        verify_indexes_only=verify_index_only,
        sanity_check_only=index_sanity_check,
        max_bytes=max_bytes,
        decoder=asked[0] if asked else None,
    )
    raise typer.Exit(run(options))


@commands.command(name="format")
def format_directories(
    cluster_id: Annotated[str, typer.Option("--cluster-id", "-t", help="The cluster's id; kafkalab random-uuid makes one.")],
    config: Annotated[Path, typer.Option("--config", "-c", metavar="FILE", help="The node's server.properties.")],
    standalone: Annotated[bool, typer.Option("--standalone", "-s", help="This controller is the only voter at first.")] = False,
    no_initial_controllers: Annotated[
        bool, typer.Option("--no-initial-controllers", "-N", help="The node joins a quorum whose voters it does not know.")
    ] = False,
    initial_controllers: Annotated[
        str | None,
        typer.Option("--initial-controllers", "-I", metavar="ID@HOST:PORT:DIRECTORY,…", help="The first voters, the same on all nodes."),
    ] = None,
    ignore_formatted: Annotated[bool, typer.Option("--ignore-formatted", "-g", help="Pass over directories that are formatted.")] = False,
    feature: Annotated[list[str] | None, typer.Option("--feature", "-f", metavar="FEATURE=LEVEL", help="May be repeated.")] = None,
    release_version: Annotated[
        str | None, typer.Option("--release-version", "-r", help="The metadata.version to begin with; the newest without.")
    ] = None,
    add_scram: Annotated[
        list[str] | None,
        typer.Option("--add-scram", "-S", metavar="MECHANISM=[name=…,password=…]", help="A credential to begin with; may be repeated."),
    ] = None,
) -> None:
    """Prepare a node's directories as Kafka's kafka-storage does; Kafka's nodes start on them too."""
    from kafkalab.cli.format import FormatOptions, run

    options = FormatOptions(
        cluster_id=cluster_id,
        config=config,
        standalone=standalone,
        no_initial_controllers=no_initial_controllers,
        initial_controllers=initial_controllers,
        ignore_formatted=ignore_formatted,
        features=tuple(feature or ()),
        release_version=release_version,
        scram=tuple(add_scram or ()),
    )
    raise typer.Exit(run(options, tell=typer.echo, complain=lambda text: typer.echo(text, err=True)))


@commands.command(name="random-uuid")
def random_uuid() -> None:
    """Print a new id for a cluster or a directory."""
    from kafkalab.cli.format import random_uuid_text

    typer.echo(random_uuid_text())


@commands.command()
def simulate(
    seeds: Annotated[int, typer.Option(help="How many seeds, one after another from --first on.")] = 100,
    minutes: Annotated[float, typer.Option(help="How long each lasts, in virtual time under load.")] = 5.0,
    seed: Annotated[int | None, typer.Option(help="This seed alone, once again.")] = None,
    first: Annotated[int, typer.Option(help="The first seed.")] = 1,
    trace: Annotated[Path | None, typer.Option(metavar="FILE", help="Where the timeline of what went wrong first goes.")] = None,
    show: Annotated[Path | None, typer.Option(metavar="FILE", help="Print a timeline that was written by --trace.")] = None,
    faults: Annotated[str | None, typer.Option(metavar="KIND,…", help="What goes wrong; without, each seed has its own choice.")] = None,
    brokers: Annotated[int, typer.Option(help="How many brokers.")] = 3,
    controllers: Annotated[int, typer.Option(help="How many KRaft controllers.")] = 3,
    partitions: Annotated[int, typer.Option(help="How many partitions are written to.")] = 20,
    config: Config = None,
    wide: Annotated[
        bool, typer.Option("--wide/--narrow", help="Topics that are compacted, short-lived or led uncleanly, too, or none but one.")
    ] = True,
    jobs: Annotated[int, typer.Option(help="Processes; 0 is one for each processor.")] = 0,
    seconds: Annotated[float, typer.Option(help="Begin with no further seed after so long; 0 is no bound.")] = 0.0,
    shrink: Annotated[bool, typer.Option(help="Look for the least that makes the first wrong seed go wrong.")] = True,
) -> None:
    """The whole cluster from seeds, on virtual time: what may go wrong goes wrong, and nothing may be lost."""
    from kafkalab.cli.simulate import run

    raise typer.Exit(
        run(
            seeds=seeds,
            minutes=minutes,
            seed=seed,
            first=first,
            trace=trace,
            show=show,
            faults=faults,
            brokers=brokers,
            controllers=controllers,
            partitions=partitions,
            config=tuple(config or ()),
            is_wide=wide,
            jobs=jobs,
            seconds=seconds,
            shrinks=shrink,
            say=typer.echo,
        )
    )


@commands.command()
def scenario(
    scenario_id: Annotated[str | None, typer.Argument(metavar="[ID]", help="R1, R10, …, or all; without, they are listed.")] = None,
    live: Annotated[bool, typer.Option("--live", help="On a cluster of real nodes instead of the simulator.")] = False,
    seed: Annotated[int, typer.Option(help="Of the simulator.")] = 1,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the nodes' folders, and say where they are.")] = False,
) -> None:
    """The failures that shaped Kafka, as scripts: each says step by step what it does, and whether the promise held."""
    from kafkalab.cli.scenario import run

    raise typer.Exit(run(scenario_id, live=live, seed=seed, keep=keep, say=typer.echo))


def main() -> None:
    """The console script."""
    commands()
