"""A reader's browser at a built site, without a network."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

WIDE, PHONE = 1400, 390


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass

    def copyfile(self, source, outputfile):
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # a test has closed its page early
            super().copyfile(source, outputfile)


@contextlib.contextmanager
def served(site: Path) -> Iterator[str]:
    """The address of the site on a free port of the loopback interface."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=site))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()


class Visit:
    """One page in a fresh context, or in ``context``, which remembers scripts and fonts; ``faults`` are its errors, failed
    requests and requests to elsewhere."""

    def __init__(self, browser, home, page, width=WIDE, scheme="light", context=None):
        self.faults = []
        size = {"width": width, "height": 900}
        self.page = context.new_page() if context else browser.new_page(viewport=size, color_scheme=scheme)
        self.page.set_viewport_size(size)
        self.page.on("pageerror", lambda error: self.faults.append(f"script: {error}"))
        self.page.on(
            "console", lambda m: self.faults.append(f"console: {m.text}") if m.type == "error" else None
        )
        self.page.on("requestfailed", lambda request: self.faults.append(f"failed: {request.url}"))
        self.page.on(
            "response", lambda r: self.faults.append(f"{r.status}: {r.url}") if r.status >= 400 else None
        )
        self.page.on("request", lambda request: self._check(request.url, home))
        self.page.goto(home + page, wait_until="networkidle")

    def _check(self, url, home):
        if not url.startswith((home, "data:", "blob:")):
            self.faults.append(f"outside: {url}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        # a context of its own is closed with it
        self.page.close()
