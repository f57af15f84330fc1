"""Ready-made tools. Each function makes one, set up by the host; without an explicit list nothing is allowed.

::

    from harness import Harness
    from harness.toolkit import http_request, read_text

    tools = [http_request(hosts=["api.example.com"]), read_text("docs")]

``http_request`` and ``llm`` need the extra ``http``, ``json_query`` and ``json_transform`` the extra ``json``.
``specs/toolkit.md`` says what each does and what it refuses.
"""

from __future__ import annotations

from harness.toolkit.http import http_request

__all__ = ["http_request"]
