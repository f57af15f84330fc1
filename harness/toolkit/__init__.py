"""Ready-made tools. Each function makes one, set up by the host; without an explicit list nothing is allowed.

::

    from harness import Harness
    from harness.toolkit import http_request, read_text

    tools = [http_request(hosts=["api.example.com"]), read_text("docs")]

``http_request`` and ``llm`` need the extra ``http``, ``json_query`` and ``json_transform`` the extra ``json``: they are
loaded when such a tool is made. ``specs/toolkit.md`` says what each does and what it refuses.
"""

from __future__ import annotations

from harness.toolkit.files import list_files, read_text
from harness.toolkit.http import http_request
from harness.toolkit.json_tools import json_query, json_transform
from harness.toolkit.llm import Price, llm

__all__ = ["Price", "http_request", "json_query", "json_transform", "list_files", "llm", "read_text"]
