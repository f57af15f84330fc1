"""Fuzzing: what must hold for any input whatever, for coverage-guided search and for the replay of what it found.

Each target is a module with ``check(data)``, which raises if the bytes show a defect, and ``seeds()``, inputs to start
from. ``specs/fuzzing.md`` says how they are run.
"""
