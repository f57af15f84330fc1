"""The examples of the README and of the other pages do what their comments say."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
EXAMPLES = {
    f"{page.stem}-{number}": source
    for page in PAGES
    for number, source in enumerate(re.findall(r"^```python\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL))
}


@pytest.mark.requirement("PRJ-009")
@pytest.mark.parametrize(
    "source",
    [
        # What these show has tests of its own, and every example is a process.
        pytest.param(source, id=name, marks=pytest.mark.slow if not name.startswith("README") else ())
        for name, source in EXAMPLES.items()
    ],
)
def test_python_examples_print_what_they_say(source):
    promised = re.findall(r"^ *print\(.*\)  # (.+)$", source, re.MULTILINE)
    assert promised
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", source], capture_output=True, text=True, timeout=50, check=False
    )
    assert (done.stderr, done.returncode) == ("", 0)
    assert done.stdout.splitlines() == promised


@pytest.mark.requirement("PRJ-009")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text()):
        assert (page.parent / target).exists(), target


@pytest.mark.requirement("PRJ-009")
def test_commands_of_the_first_screen_are_targets_of_the_makefile():
    makefile = (ROOT / "Makefile").read_text()
    first_screen = README.split("## Install")[0]
    commands = re.findall(r"^    make (\w+)", first_screen, re.MULTILINE)
    assert commands == ["demo", "test"]
    assert all(re.search(rf"^{command}:", makefile, re.MULTILINE) for command in commands)
    assert "make test" in (ROOT / ".ci" / "run").read_text()
