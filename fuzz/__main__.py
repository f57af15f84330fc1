"""``python -m fuzz run TARGET --seconds N`` searches with atheris, ``python -m fuzz replay FILE…`` looks at findings, and
``python -m fuzz slow --seconds N`` searches for texts that cost the detector most.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path
from types import ModuleType

from fuzz import corpus

TARGETS = ("detector", "parser", "frames", "results")
FINDINGS = corpus.VECTORS / "fuzz"
WORK = Path(__file__).parent.parent / ".fuzz"


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="search for inputs that break a promise")
    run.add_argument("target", choices=TARGETS)
    run.add_argument("--seconds", type=int, default=60)
    replay = commands.add_parser("replay", help="check single inputs; the name of their directory is the target")
    replay.add_argument("files", nargs="+", type=Path)
    costly = commands.add_parser("slow", help="search for texts that cost the detector most for their length")
    costly.add_argument("--seconds", type=int, default=60)
    costly.add_argument("--step", type=int, default=0, help="characters of a chunk; 0 for all at once")
    costly.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    if arguments.command == "run":
        search(arguments.target, arguments.seconds)
    elif arguments.command == "replay":
        for file in arguments.files:
            importlib.import_module(f"fuzz.{file.parent.name}").check(file.read_bytes())
            print(f"{file}: holds")
    else:
        slow = importlib.import_module("fuzz.slow")
        print("microseconds a character, in 20,000 characters and in 80,000:")
        found = list(slow.search(arguments.seconds, seed=arguments.seed, step=arguments.step))
        for measured, pattern in found[:10]:
            print(f"{measured:6.2f} {slow.cost(pattern, 80_000):6.2f} {pattern._asdict()!a}")


def search(name: str, seconds: int) -> None:
    """Search for so many seconds. Does not return: the process ends with a status other than 0 if something was found."""
    try:
        import atheris  # noqa: PLC0415 -- an extra of its own, which replaying does not need
    except ImportError:
        sys.exit("atheris is missing: run `make fuzz`, on Linux with a Python that it has wheels for (3.11 to 3.13).")
    if "harness" in sys.modules:
        raise RuntimeError("harness was imported too early: a search without its coverage finds next to nothing")
    with atheris.instrument_imports(include=["harness"]):
        target = importlib.import_module(f"fuzz.{name}")
    findings = FINDINGS / name
    findings.mkdir(parents=True, exist_ok=True)
    evolved = WORK / name
    seeds = write_seeds(name, target)
    evolved.mkdir(parents=True, exist_ok=True)
    print(f"fuzz {name}: {seconds} s; what is found is written to {findings}/", flush=True)
    options = [
        f"-max_total_time={seconds}",
        f"-artifact_prefix={findings}/",
        f"-dict={Path(__file__).parent / 'tokens.dict'}",
        "-max_len=4096",
        "-timeout=30",
        "-report_slow_units=30",
        "-rss_limit_mb=4096",
        "-print_final_stats=1",
    ]
    atheris.Setup([sys.argv[0], *options, str(evolved), str(seeds), str(findings)], target.check)
    atheris.Fuzz()


def write_seeds(name: str, target: ModuleType) -> Path:
    """The target's seeds as files, where the search reads them."""
    directory = WORK / f"{name}-seeds"
    directory.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(target.seeds()):
        (directory / f"{number:04}").write_bytes(seed)
    return directory


if __name__ == "__main__":
    main()
