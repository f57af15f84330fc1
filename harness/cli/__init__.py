"""The command line. ``harness.cli:main`` is its entry point."""

from __future__ import annotations

__all__ = ["main"]


def main() -> None:
    """Run the command line with ``sys.argv``; always ends in ``SystemExit``."""
    # Imported here, so that importing ``harness.cli`` costs nothing.
    from harness.cli.streams import fill_closed_streams  # noqa: PLC0415 -- as below

    fill_closed_streams()
    from harness.cli.app import run  # noqa: PLC0415

    run()
