"""Coverage-guided search for inputs that break one target: `python -m fuzz.search TARGET SECONDS CORPUS FINDINGS`.

A process of its own, because libFuzzer ends the process it runs in. Exit code 0: nothing found within the time. What
is found, an exception, an input that takes longer than `SLOWEST_S`, or more memory than `LARGEST_MIB`, is written to
the folder FINDINGS; `python -m fuzz.targets TARGET FILE` repeats it.
"""

import sys
from pathlib import Path

import atheris

_INSTRUMENTED = ["blurd.core.containers", "blurd.core.polygons", "blurd.adapters", "blurd.config", "tomllib", "fuzz"]

with atheris.instrument_imports(include=_INSTRUMENTED):
    from fuzz.targets import TARGETS

SLOWEST_S = 20
LARGEST_MIB = 2048


def main() -> None:
    """Search until the time is over."""
    name, seconds, corpus, findings = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), Path(sys.argv[4])
    target = TARGETS[name]
    for folder in (corpus, findings):
        folder.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(target.seeds()):
        (corpus / f"seed-{number}").write_bytes(seed)
    for number in range(64):
        choices = (number * step % 256 for step in range(1, 200))
        (corpus / f"built-{number}").write_bytes(bytes([0, *choices]))
    options = [
        f"-max_total_time={seconds}",
        f"-max_len={target.longest}",
        f"-timeout={SLOWEST_S}",
        f"-rss_limit_mb={LARGEST_MIB}",
        f"-artifact_prefix={findings}/",
        "-print_final_stats=1",
        "-verbosity=1",
    ]
    atheris.Setup([sys.argv[0], str(corpus), *options, *sys.argv[5:]], target.check)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
