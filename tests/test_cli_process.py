"""What only a real process can show: signals, pipes, terminals, what is imported."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
HARNESS = [sys.executable, "-m", "harness"]
ENVIRONMENT = {key: value for key, value in os.environ.items() if key not in ("COLUMNS", "NO_COLOR", "FORCE_COLOR")}


def run(*arguments: object, stdin: str = "", **options) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*HARNESS, *map(str, arguments)],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
        env=ENVIRONMENT | options.pop("env", {}),
        **options,
    )


def block(script: str) -> str:
    return f"<tool-calls>{script}</tool-calls>"


@pytest.mark.requirement("CLI-014", "CLI-002")
def test_the_example_does_what_it_says():
    example = ["run", "examples/transcript.md", "--tools", "examples/tools.py", "--approve", "always"]
    done = run(*example, cwd=ROOT)
    assert (done.returncode, done.stderr) == (1, "")
    for expected in (
        r"Block 1 .* ok",
        r"track_parcel\(\{\"order_id\": \"A-1003\"\}\)",
        r"Block 2 .* ok",
        r"error +check_stock",
        r"warn +DESK-1: ToolExecutionError, worth another try later",
        r"approval: approved",
        r"info +line 40: .*\[tag_in_code\]",
        r"Block 4 .* error",
        r"ok +reserve",
        r"ToolExecutionError: .*No courier is free",
        r"│ const courier = await tools\.book_courier",
        r"4 blocks: 3 ok, 1 error",
    ):
        assert re.search(expected, done.stdout), f"{expected}\n{done.stdout}"
    outcome = json.loads(run(*example, "--json", cwd=ROOT).stdout)
    assert [execution["status"] for execution in outcome["executions"]] == ["ok", "ok", "ok", "error"]
    assert outcome["executions"][0]["value"] == [
        {"order_id": "A-1002", "carrier": "Posthorn", "where": "sorting centre Leipzig", "days_late": 6}
    ]
    assert outcome["executions"][1]["value"] == {"DESK-1": 0, "CHAIR-7": 3, "LAMP-2": 14}


@pytest.mark.slow
@pytest.mark.requirement("CLI-001")
def test_json_is_utf8_in_any_locale_and_text_is_never_lost():
    text = block("return 'žluťoučký 🐎'")
    ascii_only = {"PYTHONIOENCODING": "ascii", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    command = [*HARNESS, "run", "-"]
    done = subprocess.run(
        [*command, "--json"],
        input=text.encode(),
        capture_output=True,
        timeout=50,
        check=True,
        env=ENVIRONMENT | ascii_only,
    )
    assert json.loads(done.stdout)["executions"][0]["value"] == "žluťoučký 🐎"
    done = subprocess.run(
        command, input=text.encode(), capture_output=True, timeout=50, check=True, env=ENVIRONMENT | ascii_only
    )
    assert done.stderr == b""
    assert rb"\u017elu\u0165ou\u010dk\xfd \U0001f40e" in done.stdout


@pytest.mark.slow
@pytest.mark.requirement("CLI-007")
def test_a_pipe_gets_no_colours_and_a_terminal_does(tmp_path):
    file = tmp_path / "text.md"
    file.write_text(block("console.log('\\u001b[31mred'); return 1"))
    assert "\x1b" not in run("run", file).stdout
    shown = on_a_terminal("run", str(file))
    assert "\x1b[" in shown
    assert "\\u{1b}[31mred" in re.sub(r"\x1b\[[0-9;]*m", "", shown)


def on_a_terminal(*arguments: str) -> str:
    """Standard output of the command on a terminal of its own."""
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [*HARNESS, *arguments], stdin=subprocess.DEVNULL, stdout=follower, env=ENVIRONMENT | {"TERM": "xterm-256color"}
    )
    os.close(follower)
    chunks = []
    try:
        while select.select([leader], [], [], 50)[0]:
            try:
                chunks.append(os.read(leader, 65536))
            except OSError:  # how Linux says that the other end is closed
                break
    finally:
        os.close(leader)
        process.wait(timeout=50)
    return b"".join(chunks).decode()


@pytest.mark.slow
@pytest.mark.requirement("CLI-008")
@pytest.mark.parametrize("options", [[], ["--json"]])
def test_a_reader_that_goes_away_is_no_error(options):
    script = "return Array.from({length: 20000}, (_, i) => i)"
    process = subprocess.Popen(
        [*HARNESS, "run", "-", *options],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
    )
    assert process.stdout is not None
    process.stdout.close()
    process.stdout = None  # communicate() would read from it
    _, err = process.communicate(block(script), timeout=50)
    assert (process.returncode, err) == (0, "")


@pytest.mark.requirement("CLI-009")
def test_ctrl_c(tmp_path):
    started = tmp_path / "started"
    tools = tmp_path / "waiting.py"
    tools.write_text(
        "import anyio, pathlib\nfrom harness import tool\n\n@tool\nasync def wait() -> None:\n"
        f"    pathlib.Path({str(started)!r}).touch()\n    await anyio.sleep_forever()\n"
    )
    process = subprocess.Popen(
        [*HARNESS, "run", "-", "--tools", str(tools)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
    )
    with process:
        try:
            assert process.stdin is not None
            process.stdin.write(block("await tools.wait()"))
            process.stdin.close()
            process.stdin = None  # communicate() would flush it
            until(lambda: started.exists() or process.poll() is not None)
            workers = descendants(process.pid)
            assert workers
            os.kill(process.pid, signal.SIGINT)
            out, err = process.communicate(timeout=50)
        finally:
            process.kill()
    assert (process.returncode, out) == (130, "")
    assert "Traceback" not in err
    assert "interrupted" in err
    until(lambda: not any(is_running(pid) for pid in workers))


def descendants(pid: int) -> list[int]:
    """The children of a process, theirs, and so on."""
    children = [
        int(child) for path in Path(f"/proc/{pid}/task").glob("*/children") for child in path.read_text().split()
    ]
    return children + [grandchild for child in children for grandchild in descendants(child)]


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def until(condition, patience_s: float = 40.0) -> None:
    deadline = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        select.select([], [], [], 0.02)


@pytest.mark.slow
@pytest.mark.requirement("CLI-010")
def test_without_a_terminal_an_approval_fails_and_says_what_to_do(tmp_path):
    tools = tmp_path / "paying.py"
    tools.write_text("from harness import tool\n\n@tool(approval=True)\ndef pay() -> str:\n    return 'paid'\n")
    command = ["run", "-", "--tools", tools, "--json"]
    done = run(*command, stdin=block("await tools.pay()"), start_new_session=True)
    assert done.returncode == 1
    error = json.loads(done.stdout)["executions"][0]["error"]
    assert error["type"] == "ApprovalUnavailableError"
    assert "--approve" in error["message"]
    # Asked for by name, it is an error of usage, before anything runs.
    done = run(*command, "--approve", "ask", stdin=block("return 1"), start_new_session=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert "terminal" in done.stderr


@pytest.mark.requirement("CLI-016")
@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["--version"]])
def test_help_imports_little(arguments):
    code = (
        "import sys; from harness.cli import main; sys.argv[0] = 'harness'\n"
        "try: main()\nexcept SystemExit as e: assert not e.code\n"
        "print(*sorted({name.split('.')[0] for name in sys.modules}), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        timeout=50,
        check=True,
        env=ENVIRONMENT,
    )
    assert done.stdout
    assert not {"_quickjs", "tree_sitter", "lxml", "anyio"} & set(done.stderr.split())


NOISY = """
import atexit
import os
import threading
import time
from harness import tool

print("from the module")
os.write(1, b"from the descriptor")
atexit.register(print, "from the end")

@tool
def loud() -> int:
    print("from the tool")
    os.system("echo from a child")
    return 1

@tool
def endless() -> int:
    while True:
        time.sleep(60)
"""


@pytest.fixture
def noisy(tmp_path) -> Path:
    path: Path = tmp_path / "noisy_tools.py"
    path.write_text(NOISY)
    return path


@pytest.mark.requirement("CLI-017", "CLI-001")
@pytest.mark.parametrize(
    ("command", "noises"),
    [
        (["run", "-", "--json"], ["module", "descriptor", "tool", "a child", "end"]),
        (["check", "-", "--json"], ["module", "descriptor", "end"]),
        (["tools", "--json"], ["module", "descriptor", "end"]),
        (["tools", "--format", "json"], ["module", "descriptor", "end"]),
    ],
    ids=" ".join,
)
@pytest.mark.slow
def test_what_others_print_stays_out_of_json(command, noises, noisy):
    done = run(*command, "--tools", noisy, stdin=block("return await tools.loud()"))
    assert done.returncode == 0
    assert json.loads(done.stdout) is not None
    assert "from" not in re.sub(r'"[^"]*"', "", done.stdout)
    for noise in noises:
        assert f"from {'' if noise.startswith('a ') else 'the '}{noise}" in done.stderr


@pytest.mark.requirement("CLI-018")
@pytest.mark.parametrize(
    "command",
    [["run", "-"], ["run", "-", "--json"], ["doctor"], ["doctor", "--json"], ["--help"], ["--version"]],
    ids=" ".join,
)
@pytest.mark.slow
def test_a_full_disk_is_no_defect(command):
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [*HARNESS, *command],
            input=b"",
            stdout=full,
            stderr=subprocess.PIPE,
            timeout=50,
            check=False,
            env=ENVIRONMENT,
        )
    assert done.returncode == 1
    message = b"harness: standard output cannot be written (No space left on device), so the report is lost.\n"
    assert done.stderr == message


@pytest.mark.requirement("CLI-018")
@pytest.mark.parametrize(
    ("command", "closed", "status", "message"),
    [
        ("run - --json", ">&-", 1, "standard output cannot be written (Bad file descriptor), so the report is lost."),
        ("run -", ">&-", 1, "standard output cannot be written (Bad file descriptor), so the report is lost."),
        ("run -", "<&-", 2, "- cannot be read: Bad file descriptor."),
        ("run - --json", "2>&-", 0, ""),
        ("run -", ">&- 2>&-", 1, ""),
    ],
)
@pytest.mark.slow
def test_a_closed_stream_is_no_defect(command, closed, status, message):
    shell = ["sh", "-c", f'exec "$0" -m harness {command} {closed}', sys.executable]
    done = subprocess.run(
        shell, input=block("1"), capture_output=True, text=True, timeout=50, check=False, env=ENVIRONMENT
    )
    assert done.returncode == status, done.stderr
    assert done.stderr == (f"harness: {message}\n" if message else "")
    if status == 0:
        assert json.loads(done.stdout)["executions"][0]["value"] == 1


@pytest.mark.slow
@pytest.mark.requirement("CLI-019", "TOOL-052")
def test_a_tool_that_never_ends_does_not_keep_the_command(noisy):
    # Were its thread waited for, this would end in the timeout of `run`.
    done = run("run", "-", "--tools", noisy, "--limit", "tool_timeout=0.05", stdin=block("await tools.endless()"))
    assert done.returncode == 1
    assert "ToolTimeoutError" in done.stdout
