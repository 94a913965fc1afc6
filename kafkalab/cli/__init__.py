"""The command line: ``kafkalab`` is the window, ``kafkalab serve`` the cluster without one.

Each command imports what it needs when it runs, so that ``serve`` never loads Qt.
"""

from __future__ import annotations

import logging
import sys
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
LogLevel = Annotated[str, typer.Option("--log-level", help="debug, info, warning or error, on standard error.")]


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
    log_level: LogLevel = "info",
) -> None:
    """The cluster without a window. SIGTERM and SIGINT stop it in order."""
    _set_up_log(log_level)
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
    )
    raise typer.Exit(run(options))


def main() -> None:
    """The console script."""
    commands()
