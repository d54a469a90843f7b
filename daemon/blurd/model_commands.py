"""`blurd models`: what detectors there are, and whether one of the owner's own is right, before a folder names it.

What is printed is for a person at a terminal; what is wrong with a detector is printed line by line, as it is refused
at `check-config`. Nothing here changes a folder or a job: `add` alone writes, a copy into `models.directory_own`.
"""

import argparse
import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from blurd.config import BUILT_IN, DEFAULT_PATH, Policy, Settings, load_settings
from blurd.errors import EquipmentError, Reason
from blurd.exit_codes import EXIT_CODES, EXIT_PARTLY
from blurd.records import Detection, RgbPicture

if TYPE_CHECKING:
    from blurd.adapters.inference import OpenVinoDetector
    from blurd.adapters.models import LoadedModel

Evaluate = Callable[[argparse.Namespace], int]

_TEST_SIZE = (1080, 1920, 3)
_EXAMPLE = """\
A detector is a folder with a model.toml and the files that it names; blurd-models(5) has an example for each family."""


def add_model_commands(commands: Any, add_evaluation: Callable[[argparse.ArgumentParser], None]) -> None:
    """Add them to the command line. `add_evaluation` gives a command what `blurd evaluate` takes and does."""
    command = commands.add_parser(
        "models", help="list, check and add detectors, your own too", description="Detectors. " + _EXAMPLE
    )
    below = command.add_subparsers(title="commands", metavar="COMMAND", required=True)

    command = below.add_parser("list", help="every detector, what it finds, and the folders that use it")
    command.set_defaults(command=_list)

    command = below.add_parser(
        "check",
        help="try a detector of your own",
        description="Read a detector and say of which family it is, run it on the configured device, and print time,"
        " output shapes, and what it would mask in a picture. " + _EXAMPLE,
    )
    command.add_argument("path", type=Path, metavar="PATH", help="the detector's folder, or its model.toml")
    command.add_argument("--picture", type=Path, metavar="FILE", help="a picture to look at")
    command.add_argument("--out", type=Path, metavar="FILE", help="write the picture with the hits drawn in (.png)")
    command.set_defaults(command=_check)

    command = below.add_parser(
        "add",
        help="check a detector and copy it to where folders find it",
        description="Check a detector, and copy its model.toml and its files into models.directory_own. A detector"
        " that is there is not replaced. " + _EXAMPLE,
    )
    command.add_argument("path", type=Path, metavar="PATH", help="the detector's folder, or its model.toml")
    command.set_defaults(command=_add)

    command = below.add_parser(
        "evaluate",
        help="measure detectors on an annotated set",
        description='As blurd evaluate, with the detectors that are named, alone or joined; "builtin" stands for those'
        " that blurd brings.",
    )
    command.add_argument("detectors", nargs="+", metavar="NAME", help="a detector")
    add_evaluation(command)


def check_own_detectors(settings: Settings) -> None:
    """Refuse what a worker would refuse at its start; done where a folder names a detector of the owner's own.

    Raises `EquipmentError` with every fault.
    """
    if any(folder.detectors != (BUILT_IN,) for folder in settings.folder):
        from blurd.equipment import check_detectors  # noqa: PLC0415  what detects takes long to load

        check_detectors(settings)


def with_detectors(settings: Settings, policy: Policy, names: tuple[str, ...]) -> Policy:
    """The policy with these detectors, looking for all that they find."""
    from blurd.equipment import load_detectors  # noqa: PLC0415

    models = load_detectors(settings, names)
    categories = tuple(dict.fromkeys(category for model in models for category in model.entry.categories))
    return policy.model_copy(update={"detectors": names, "classes": categories})


def _settings(options: argparse.Namespace) -> Settings:
    if options.config is None and not DEFAULT_PATH.exists():
        return Settings.model_construct()
    return load_settings(options.config or DEFAULT_PATH)


def _list(options: argparse.Namespace) -> int:
    from blurd.adapters.models import read_manifest  # noqa: PLC0415
    from blurd.adapters.own_models import load_own, own_names  # noqa: PLC0415

    settings = _settings(options)
    for entry in read_manifest(settings.models.directory).model:
        users = _users(settings, BUILT_IN)
        _say(f"{BUILT_IN}/{entry.name}: {', '.join(entry.categories)}; {entry.source.licence}{users}")
    code = 0
    for name in own_names(settings.models.directory_own):
        try:
            entry = load_own(settings.models.directory_own, name).entry
        except EquipmentError as error:
            print(error.detail, file=sys.stderr)  # noqa: T201
            code = EXIT_PARTLY
        else:
            finds = f"{', '.join(entry.categories)} ({entry.head})"
            _say(f"{name}: {finds}; {entry.source.licence}{_users(settings, name)}")
    return code


def _users(settings: Settings, name: str) -> str:
    folders = [folder.name for folder in getattr(settings, "folder", ()) if name in folder.detectors]
    return f"; used by {', '.join(folders)}" if folders else ""


def _check(options: argparse.Namespace) -> int:
    settings = _settings(options)
    try:
        _try(settings, _loaded(options.path), options)
    except EquipmentError as error:
        print(error.detail or str(error), file=sys.stderr)  # noqa: T201
        return EXIT_CODES[error.reason]
    return 0


def _loaded(path: Path) -> "LoadedModel":
    from blurd.adapters.own_models import SETTINGS_NAME, load_own  # noqa: PLC0415
    from blurd.mask_settings import category_of  # noqa: PLC0415  a detector's name is made as a class's

    folder = (path.parent if path.name == SETTINGS_NAME else path).resolve()
    try:
        category_of(folder.name)
    except ValueError:
        detail = (
            f"{folder.name}: the folder's name is the detector's: a lower-case letter, then up to 31 of a-z, 0-9, -, _"
        )
        raise EquipmentError(Reason.MODEL_INVALID, "load model", detail) from None
    if folder.name == BUILT_IN:
        detail = f"{folder.name}: stands for the detectors that blurd brings; give the folder another name"
        raise EquipmentError(Reason.MODEL_INVALID, "load model", detail)
    return load_own(folder.parent, folder.name)


def _try(settings: Settings, model: "LoadedModel", options: argparse.Namespace) -> None:
    from blurd.equipment import detector_of  # noqa: PLC0415
    from blurd.records import MediaKind  # noqa: PLC0415

    entry = model.entry
    layout = entry.input
    _say(f"{entry.name}: family {entry.head}, finds {', '.join(entry.categories)}, licence {entry.source.licence}")
    size = f"{getattr(layout, 'width_px', '?')} x {getattr(layout, 'height_px', '?')}"
    _say(f"input: {size} pixels, {layout.colour}, {'plain' if getattr(layout, 'stretched', False) else 'letterbox'}")
    for kind in MediaKind:
        detector = detector_of(settings, model, kind)
        if kind is MediaKind.IMAGE:
            for name, shape in detector.output_shapes():
                _say(f"output: {name}, {shape}")
        seconds = _seconds(detector)
        what = "a photo" if kind is MediaKind.IMAGE else "a frame of a video"
        _say(f"{what} of 1920 x 1080 pixels takes {seconds:.2f} s on the {detector.device}")
    if options.picture is not None:
        _show(detector_of(settings, model, MediaKind.IMAGE), settings, options)


def _seconds(detector: "OpenVinoDetector") -> float:
    import numpy as np  # noqa: PLC0415

    picture = np.random.default_rng(7).integers(0, 256, _TEST_SIZE, np.uint8)
    detector.detect(picture)  # compiles what this size needs
    began_s = time.perf_counter()
    detector.detect(picture)
    return time.perf_counter() - began_s


def _show(detector: "OpenVinoDetector", settings: Settings, options: argparse.Namespace) -> None:
    from blurd.equipment import read_picture  # noqa: PLC0415

    picture = read_picture(settings, options.picture)
    hits = [hit for hit in detector.detect(picture) if hit.score >= detector.start_threshold(hit.category)]
    for hit in hits:
        box = hit.box
        _say(f"{hit.category} {hit.score:.3f} at {box.left:.0f}, {box.top:.0f}, {box.right:.0f}, {box.bottom:.0f}")
    _say(f"{len(hits)} hits would be masked")
    if options.out is not None:
        _draw(picture, hits, options.out)


def _draw(picture: RgbPicture, hits: list[Detection], out: Path) -> None:
    """The picture with a line around each hit: boxes, and outlines where there are any."""
    import cv2  # noqa: PLC0415
    import numpy as np  # noqa: PLC0415

    from blurd.core.outlines import WHOLE, polygon  # noqa: PLC0415

    drawn = np.ascontiguousarray(picture[:, :, ::-1])
    width = max(2, round(max(drawn.shape[:2]) / 500))
    for hit in hits:
        corners = np.rint(polygon(hit.box, hit.outline or WHOLE)).astype(np.int32)
        cv2.polylines(drawn, [corners], isClosed=True, color=(0, 0, 255), thickness=width)
        at = (int(hit.box.left), max(12, int(hit.box.top) - width))
        cv2.putText(drawn, f"{hit.category} {hit.score:.2f}", at, cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 255), width)
    try:
        out.write_bytes(cv2.imencode(".png", drawn)[1].tobytes())
    except OSError as error:
        detail = f"{out} can't be written ({error.strerror})."
        raise EquipmentError(Reason.OUTBOUND_MISSING, "draw hits", detail) from None
    _say(f"drawn: {out}")


def _add(options: argparse.Namespace) -> int:
    from blurd.adapters.own_models import SETTINGS_NAME, read_table  # noqa: PLC0415

    settings = _settings(options)
    try:
        model = _loaded(options.path)
        folder = (options.path.parent if options.path.name == SETTINGS_NAME else options.path).resolve()
        table = read_table(folder.parent, folder.name)
        names = [SETTINGS_NAME, table.file, *([table.weights] if table.weights else [])]
        _put(folder, settings.models.directory_own, names)
    except EquipmentError as error:
        print(error.detail or str(error), file=sys.stderr)  # noqa: T201
        return EXIT_CODES[error.reason]
    name = model.entry.name
    _say(f"added {name}: {', '.join(model.entry.categories)}. A folder uses it with, for example:")
    _say(f'detectors = ["{BUILT_IN}", "{name}"]')
    return 0


def _put(folder: Path, directory: Path, names: list[str]) -> None:
    """Copy these files of a detector's folder aside, then rename: a detector is there as a whole or not at all."""
    target, aside = directory / folder.name, directory / f".{folder.name}.new"
    if target.exists():
        detail = f"{folder.name}: is in {directory} already; remove {target} first, or give the folder another name"
        raise EquipmentError(Reason.MODEL_INVALID, "add model", detail)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(aside, ignore_errors=True)
        for name in names:
            (aside / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(folder / name, aside / name)
        for place in (*aside.rglob("*"), aside):
            place.chmod(0o755 if place.is_dir() else 0o644)
            _sync(place)
        aside.rename(target)
        _sync(directory)
    except OSError as error:
        shutil.rmtree(aside, ignore_errors=True)
        detail = f"{folder.name}: can't be copied to {directory} ({error.strerror}); run it as root"
        raise EquipmentError(Reason.MODEL_MISSING, "add model", detail) from None


def _sync(place: Path) -> None:
    handle = os.open(place, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _say(text: str) -> None:
    print(text)  # noqa: T201  a person's terminal
