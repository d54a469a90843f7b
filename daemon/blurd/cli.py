"""The command line. Parses, calls, and turns errors into sentences and exit codes; no work of its own.

What decodes and detects is imported by the commands that do so: its libraries take longer to load than a status to
show.

Exit codes: 0 all is well; 1 some file was refused, or the status is not healthy; 2 wrong command line; from 10 on the
reason that ended the process (`errors.EXIT_CODES`).
"""

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from blurd import __version__
from blurd.adapters.host import end_with_parent, return_memory_early
from blurd.adapters.known_folders import KnownFolders
from blurd.adapters.log import EventLog
from blurd.adapters.own_output import own_output_withheld
from blurd.adapters.probe import ANSWER_PATIENCE_S, FolderProbe
from blurd.alert_command import add_alert_command
from blurd.config import DEFAULT_PATH, Policy, Settings, load_settings
from blurd.core.naming import printable
from blurd.core.recognition import Place, Side
from blurd.doctor.command import add_doctor_command
from blurd.errors import REASONS, BlurdError, EquipmentError, Reason
from blurd.events import Part, ProcessFailed
from blurd.exit_codes import EXIT_CODES, EXIT_OTHER, EXIT_PARTLY
from blurd.job_commands import add_job_commands
from blurd.model_commands import add_model_commands, check_own_detectors, with_detectors
from blurd.queue_commands import add_queue_commands
from blurd.receipt_commands import add_receipt_commands
from blurd.records import Category, MaskStyle
from blurd.records import Progress as FileProgress
from blurd.redo_command import add_redo_command
from blurd.report_command import add_report_command
from blurd.retention_command import add_retention_command
from blurd.run import run
from blurd.status_command import add_status_command
from blurd.units import out_of_step, units_are_installed, write_drop_ins

if TYPE_CHECKING:
    from blurd.once import Tally

_DESCRIPTION = """\
blurd blurs every face and licence plate in photos. Files that appear in an inbound folder
are copied, blurred and verified into its outbound folder; originals are never changed."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code."""
    parser = build_parser()
    options = parser.parse_args(arguments)
    try:
        code: int = options.command(options)
    except BlurdError as error:
        print(f"blurd: {error}", file=sys.stderr)  # noqa: T201  a person's terminal
        return EXIT_CODES.get(error.reason, EXIT_OTHER)
    except KeyboardInterrupt:
        return 130
    return code


def build_parser() -> argparse.ArgumentParser:
    """The whole command line; man page and completion are made from it too."""
    parser = argparse.ArgumentParser(
        prog="blurd",
        description=_DESCRIPTION,
        epilog="Settings: /etc/blurd/blurd.toml, every key explained in etc/blurd.toml.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"blurd {__version__}")
    parser.add_argument(
        "--config", type=Path, default=None, metavar="FILE", help=f"settings file (default: {DEFAULT_PATH})"
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    command = commands.add_parser("run", help="watch and work in the foreground, until Ctrl-C")
    command.set_defaults(command=_run)

    for name, function, unit, text in (
        ("watch", _watch, "blurd-watch.service", "watch the folders: find, queue, publish (one such process)"),
        ("work", _work, "blurd-work@.service", "treat queued files (one or more such processes)"),
    ):
        command = commands.add_parser(name, help=text)
        command.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
        command.add_argument(
            "--sandboxed", action="store_true", help=f"run in the sandbox of blurd's unit, as {unit} does it"
        )
        command.set_defaults(command=function)

    command = commands.add_parser(
        "setup-units",
        help="bring systemd's units in step with the settings",
        description="Write the drop-ins that tell the units which folders they may use, which groups they need and how"
        " many workers there are. Run it as root after each change of these in the settings.",
    )
    command.add_argument("--check", action="store_true", help="write nothing; exit code 1 where they are not in step")
    command.add_argument("--root", type=Path, default=Path("/"), metavar="DIR", help="the root of another system")
    command.set_defaults(command=_setup_units)

    command = commands.add_parser(
        "blur",
        help="treat one file or a folder now, without queue",
        description="Write a blurred copy of IN (a file or a folder) to OUT. Nothing is overwritten: a copy that is"
        " already there is left alone.",
    )
    command.add_argument("source", type=Path, metavar="IN", help="a picture, a video, or a folder of them")
    command.add_argument("target", type=Path, metavar="OUT", help="a folder, or for one file the copy's name")
    command.add_argument("--style", choices=list(MaskStyle), type=MaskStyle, help="how to mask (default: settings)")
    command.add_argument(
        "--classes", type=_classes, metavar="LIST", help="what to mask, such as face (default: settings)"
    )
    command.add_argument("--quiet", action="store_true", help="no progress bar, no list of copies")
    command.set_defaults(command=_blur)

    command = commands.add_parser(
        "evaluate",
        help="measure detection on an annotated set",
        description="Measure the detection that masks. On pictures annotated in COCO's format: precision, recall,"
        " average precision, and the share of objects that would be covered. On a video annotated frame by frame:"
        " the share of object-frames that are covered, by frame and by track, the longest exposure, flicker.",
        epilog="The annotations of a video are MOTChallenge's text, one object in one frame on each line: frame (from"
        " 1), id, left, top, width, height, conf, class (face or plate), visibility; or COCO JSON with videos, images"
        " with video_id and frame_index (from 0), and annotations with track_id.",
    )
    _add_evaluation(command)
    add_model_commands(commands, _add_evaluation)

    command = commands.add_parser("check-config", help="check the settings and list every error")
    command.set_defaults(command=_check_config)

    add_queue_commands(commands)
    add_redo_command(commands)
    add_job_commands(commands)
    add_receipt_commands(commands)
    add_retention_command(commands)
    add_report_command(commands)
    command = commands.add_parser(
        "accept-folder",
        help="say that another inbound or outbound folder in the known one's place is right (a new disk)",
        description="A folder that is not the one known pauses (inbound_strange, outbound_strange). Where it is right,"
        " because a disk or a server was replaced, this makes it the known one.",
    )
    command.add_argument("folder", metavar="NAME", help="the folder's name in the settings")
    command.add_argument("side", choices=[str(side) for side in Side], help="which of its two folders")
    command.set_defaults(command=_accept_folder)

    add_alert_command(commands)
    add_doctor_command(commands)
    add_status_command(commands)
    return parser


def _add_evaluation(command: argparse.ArgumentParser) -> None:
    """What an evaluation takes, and that it is done."""
    command.add_argument(
        "--annotations", type=Path, required=True, metavar="FILE", help="COCO JSON; for a video also MOT text"
    )
    media = command.add_mutually_exclusive_group(required=True)
    media.add_argument("--images", type=Path, metavar="DIR", help="the folder of the pictures")
    media.add_argument("--video", type=Path, metavar="FILE", help="the video")
    command.add_argument(
        "--classes", type=_classes, metavar="LIST", help="face, plate or both (default: what the set annotates)"
    )
    command.add_argument("--json", type=Path, metavar="OUT", help="write the figures there instead of printing them")
    command.add_argument("--report", type=Path, metavar="DIR", help="write a page for the assessment's file there")
    command.set_defaults(command=_evaluate)


def _classes(text: str) -> tuple[Category, ...]:
    try:
        return tuple(Category(part.strip()) for part in text.split(","))
    except ValueError as error:
        names = f"{', '.join(Category)}, or classes of your own detectors"
        raise argparse.ArgumentTypeError(f"choose from {names}, separated by commas") from error


def _settings(options: argparse.Namespace) -> Settings:
    return load_settings(options.config or DEFAULT_PATH)


def _run(options: argparse.Namespace) -> int:
    settings = _settings(options)
    log = EventLog(Part.RUN)
    log.capture_libraries()
    return run(settings, (options.config or DEFAULT_PATH).resolve(), log, partial(_settings, options))


def _watch(options: argparse.Namespace) -> int:
    from blurd.watch import watch  # noqa: PLC0415

    return _process(options, Part.WATCH, partial(watch, sandboxed=options.sandboxed))


def _work(options: argparse.Namespace) -> int:
    from blurd.work import work  # noqa: PLC0415

    return_memory_early()
    return _process(options, Part.WORK, partial(work, sandboxed=options.sandboxed))


def _setup_units(options: argparse.Namespace) -> int:
    root: Path = options.root
    settings = load_settings(options.config or root / DEFAULT_PATH.relative_to("/"))
    if options.check:
        stale = out_of_step(settings, root)
        for path in stale:
            print(f"not in step with the settings: {path}")  # noqa: T201
        print("run: blurd setup-units" if stale else "units and settings are in step")  # noqa: T201
        return EXIT_PARTLY if stale else 0
    for path in write_drop_ins(settings, root):
        print(path)  # noqa: T201
    print("then: systemctl daemon-reload && systemctl stop blurd.target && systemctl start blurd.target")  # noqa: T201
    return 0


def _process(options: argparse.Namespace, part: Part, serve: Callable[..., None]) -> int:
    settings = _settings(options)
    log = EventLog(part)
    log.capture_libraries()
    if options.child:
        end_with_parent()
    try:
        with own_output_withheld(log.emit):
            serve(settings, log, partial(_settings, options))
    except BlurdError as error:
        log.emit(ProcessFailed(part, error.reason))
        raise
    except Exception as error:  # noqa: BLE001  no stack trace at the operator's side; the log has the line
        log.internal_error(error)
        raise EquipmentError(Reason.INTERNAL_ERROR, str(part)) from None
    return 0


def _blur(options: argparse.Namespace) -> int:
    from blurd.once import blur  # noqa: PLC0415

    return_memory_early()
    settings, policy = _settings_without_folders(options)
    changes = {"mask": policy.mask.model_copy(update={"style": options.style})} if options.style else {}
    if options.classes:
        changes["classes"] = options.classes
    policy = policy.model_copy(update=changes)
    _silence_libraries()
    console = Console(stderr=True, quiet=options.quiet)
    with _progress(console) as bar:
        task = bar.add_task("", total=1, speed="")

        def began(path: str, number: int, count: int) -> "_Share":
            bar.update(task, description=printable(path), total=count, completed=number - 1)
            return _Share(bar, task, number - 1)

        tally = blur(settings, policy, options.source, options.target, began)
        bar.update(task, description="done", completed=bar.tasks[0].total)
    _report(tally, quiet=options.quiet)
    return EXIT_PARTLY if tally.refused else 0


def _evaluate(options: argparse.Namespace) -> int:
    from blurd.evaluate import evaluate  # noqa: PLC0415
    from blurd.evaluate_video import VideoEvaluation, evaluate_video  # noqa: PLC0415

    settings, policy = _settings_without_folders(options)
    _silence_libraries()
    if names := getattr(options, "detectors", None):
        policy = with_detectors(settings, policy, tuple(dict.fromkeys(names)))
    with _progress(Console(stderr=True)) as bar:
        task = bar.add_task("measuring", total=1, speed="")

        def advance(count: int, total: int) -> None:
            bar.update(task, completed=count, total=total)

        common = (options.classes, advance)
        result = (
            evaluate_video(settings, policy, options.annotations, options.video, *common)
            if options.video
            else evaluate(settings, policy, options.annotations, options.images, *common)
        )
    text = json.dumps(result.as_json(), indent=2)
    if options.json:
        options.json.write_text(text + "\n", encoding="utf-8")
    else:
        print(text)  # noqa: T201
    if options.report:
        from blurd.evaluation_page import evaluation_page, video_page  # noqa: PLC0415

        options.report.mkdir(parents=True, exist_ok=True)
        page = options.report / "evaluation.html"
        content = video_page(result) if isinstance(result, VideoEvaluation) else evaluation_page(result)
        page.write_text(content, encoding="utf-8")
        print(f"report: {page}", file=sys.stderr)  # noqa: T201
    return 0


def _silence_libraries() -> None:
    """What libraries say is not for a person's terminal: errors come with our own words."""
    EventLog(Part.RUN, Path(os.devnull).open("w", encoding="utf-8")).capture_libraries()  # noqa: SIM115


def _settings_without_folders(options: argparse.Namespace) -> tuple[Settings, Policy]:
    if options.config is None and not DEFAULT_PATH.exists():
        return Settings.model_construct(), Policy()
    settings = _settings(options)
    return settings, settings.defaults


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[speed]}"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    )


class _Share:
    """Moves the bar within one file."""

    def __init__(self, bar: Progress, task: object, before: int) -> None:
        self._bar, self._task, self._before = bar, task, before

    def __call__(self, progress: FileProgress) -> None:
        speed = f"{progress.frames_per_s:.1f} frames/s" if progress.frames_per_s else ""
        self._bar.update(self._task, completed=self._before + progress.share, speed=speed)  # type: ignore[arg-type]


def _report(tally: "Tally", *, quiet: bool) -> None:
    if not quiet:
        for path in tally.written:
            print(printable(path))  # noqa: T201
    for path, reason in tally.refused:
        print(f"{printable(path)}: {reason}. {REASONS[reason].meaning} {REASONS[reason].remedy}", file=sys.stderr)  # noqa: T201
    parts = [f"{len(tally.written)} written", f"{len(tally.present)} already there", f"{len(tally.refused)} refused"]
    if tally.ignored:
        parts.append(f"{tally.ignored} ignored, no image or video")
    if not quiet:
        print(", ".join(parts), file=sys.stderr)  # noqa: T201


def _check_config(options: argparse.Namespace) -> int:
    path = options.config or DEFAULT_PATH
    try:
        settings = load_settings(path)
        check_own_detectors(settings)
    except EquipmentError as error:
        print(error.detail, file=sys.stderr)  # noqa: T201
        return EXIT_CODES[error.reason]
    print(f"{path}: {len(settings.folder)} folders, no errors")  # noqa: T201
    for folder in settings.folder:
        for key, place in (("inbound", folder.inbound), ("outbound", folder.outbound)):
            there = FolderProbe(key, partial(_is_there, place)).room(ANSWER_PATIENCE_S)
            if not there:
                trouble = "does not answer" if there is None else "is not there yet"
                print(f"note: folder {folder.name}: {key} {place} {trouble}")  # noqa: T201
    if units_are_installed() and out_of_step(settings):
        print("note: systemd's units are not in step with the settings; run: blurd setup-units")  # noqa: T201
    return 0


def _is_there(place: Path) -> int:
    return int(place.is_dir())


def _accept_folder(options: argparse.Namespace) -> int:
    settings = _settings(options)
    folder = next((item for item in settings.folder if item.name == options.folder), None)
    if folder is None:
        names = ", ".join(item.name for item in settings.folder)
        raise EquipmentError(Reason.SETTINGS_INVALID, "accept folder", f"No folder has this name; there are: {names}.")
    side = Side(options.side)
    guard = KnownFolders(settings.state.directory, folder.key, folder.inbound, folder.outbound, adopts=False)
    known = guard.known(side)
    place = guard.accept(side)
    if known is not None:
        print(f"known before: {printable(_place(known.place))}")  # noqa: T201
    print(f"known now:    {printable(_place(place))}")  # noqa: T201
    return 0


def _place(place: Place) -> str:
    return f"{place.path} on {place.source} ({place.kind})"
