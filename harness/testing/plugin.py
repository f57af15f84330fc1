"""The pytest plugin: a cassette for each test that asks for one.

Registered under the name ``harness`` (``-p no:harness`` leaves it out). Whoever does not use it pays for this module
and nothing else: the library is imported when the first test asks for its cassette.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from harness.testing.cassette import Cassette

_MODES = ("none", "once", "new", "all")
_RECORD_HELP = (
    "cassettes of tool-calls-harness: only play them (none, the default), record where there is none (once), record what "
    "is not there (new), record everything anew (all)"
)
_FORCE_HELP = "also play cassettes that were recorded on another build of the engine, its prelude or the C library"
_PLAIN = re.compile(r"[A-Za-z0-9_.]+(\[[a-z0-9_.,+=@ -]*\])?", re.ASCII)
"""Names that are good file names everywhere. Some file systems do not tell ``[A]`` from ``[a]``."""
_LONGEST = 150
"""Characters of a file name; most file systems take 255 bytes."""
_PASSED = pytest.StashKey[bool]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options of the command line and of the configuration."""
    group = parser.getgroup("harness", "tool-calls-harness")
    group.addoption("--harness-record", choices=_MODES, help=_RECORD_HELP)
    group.addoption("--harness-force", action="store_true", help=_FORCE_HELP)
    parser.addini("harness_record", _RECORD_HELP, default="none")
    parser.addini("harness_force", _FORCE_HELP, type="bool", default=False)
    parser.addini("harness_cassettes", "name of the folder with cassettes, beside each test file", default="cassettes")


def pytest_configure(config: pytest.Config) -> None:
    """The marker."""
    config.addinivalue_line(
        "markers",
        'transcript(path, golden=None): the text that harness_cassette.run() runs, from a file beside the test; "golden" '
        "is the file of the outcome that it must have.",
    )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Takes note whether a test passed: only then its cassette is written."""
    report = yield
    if call.when == "call":
        item.stash[_PASSED] = report.passed
    return report


@pytest.fixture(scope="session")
def harness_redact() -> Callable[[str], str] | None:
    """To be overridden: a function that every string goes through before it is written to a cassette."""
    return None


@pytest.fixture
def harness_cassette(request: pytest.FixtureRequest, harness_redact: Callable[[str], str] | None) -> Iterator[Cassette]:
    """The `Cassette` of this test, in ``cassettes/<test file>/<test>.jsonl`` beside the test file.

    It is written when the test has passed. `UnusedRecordingWarning` tells of recorded runs that it did not make.
    """
    # Whoever does not use it does not pay for it.
    from harness.errors import UsageError  # noqa: PLC0415
    from harness.testing.cassette import Cassette  # noqa: PLC0415

    config, folder, node = request.config, request.path.parent, request.node
    node.stash[_PASSED] = False
    escaped = node.nodeid.replace("{", "{{").replace("}", "}}")
    given = _transcript(node, folder)
    try:
        cassette = Cassette(
            folder / config.getini("harness_cassettes") / request.path.stem / f"{_file_name(node.nodeid)}.jsonl",
            record=config.getoption("--harness-record") or config.getini("harness_record"),
            force=config.getoption("--harness-force") or config.getini("harness_force"),
            redact=harness_redact,
            folder=folder,
            advice=f"pytest --harness-record={{mode}} '{escaped}'",
            **given,
        )
    except UsageError as error:
        pytest.fail(str(error), pytrace=False)
    yield cassette
    if node.stash[_PASSED]:
        cassette.save()
        cassette.warn_of_unused()


def _transcript(node: pytest.Item, folder: Path) -> dict[str, Any]:
    """What the marker says: the text to run, and the outcome that it must have."""
    marker = node.get_closest_marker("transcript")
    if marker is None:
        return {}
    if len(marker.args) != 1 or marker.kwargs.keys() - {"golden"}:
        pytest.fail(
            'Write the marker as @pytest.mark.transcript("path.md") or, with the file of the outcome that '
            'it must have, @pytest.mark.transcript("path.md", golden="path.json").',
            pytrace=False,
        )
    path = folder / marker.args[0]
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        pytest.fail(
            f"The transcript {path} cannot be read ({error}). Its path is relative to the test file.", pytrace=False
        )
    return {"text": text, "golden": marker.kwargs.get("golden")}


def _file_name(nodeid: str) -> str:
    """A name for the file of a test: its own where that is a good one, else one that is as telling and as unique."""
    _, _, name = nodeid.partition("::")
    name = name.replace("::", ".")
    if _PLAIN.fullmatch(name) and len(name) <= _LONGEST:
        return name
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    return f"{re.sub('[^A-Za-z0-9_.]+', '-', name)[:_LONGEST].strip('-')}-{digest}"
