"""The command line: ``kafkalab`` is the window, ``kafkalab serve`` the cluster without one.

Each command imports what it needs when it runs, so that ``serve`` never loads Qt.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Annotated, Final

import typer

from kafkalab import __version__

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
def app() -> None:
    """The window, over a cluster that is kept in your user data folder."""
    _set_up_log("info")
    from kafkalab.app import main as run_window

    raise typer.Exit(run_window())


@commands.command()
def serve(
    brokers: Annotated[int, typer.Option(help="How many brokers.")] = 3,
    controllers: Annotated[int, typer.Option(help="How many KRaft controllers.")] = 3,
    combined: Annotated[bool, typer.Option("--combined", help="Each node is both broker and controller.")] = False,
    port: Annotated[int, typer.Option(help="Broker i listens on PORT + i - 1; 0 takes free ports.")] = 9092,
    data_dir: DataDir = None,
    config: Annotated[list[str] | None, typer.Option("--config", metavar="KEY=VALUE", help="A broker setting; may be repeated.")] = None,
    config_file: Annotated[
        Path | None, typer.Option("--config-file", metavar="FILE", help="A server.properties; --config wins over it.")
    ] = None,
    isolation: Annotated[str, typer.Option(help="thread: all nodes in this process; process: each in its own.")] = "thread",
    log_level: Annotated[str, typer.Option("--log-level", help="debug, info, warning or error, on standard error.")] = "info",
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
