"""A page in headless Chromium, from a loopback server; its requests are recorded."""

import contextlib
import functools
import http.server
import shutil
import threading

CHROMIUM = shutil.which("chromium")
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
         "--disable-background-networking", "--disable-component-update"]  # fmt: skip
PATIENCE = 300_000  # milliseconds; machines are shared
CAMERA = ["--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"]
ANSWERS = """async () => {
    const { cards } = await import("./app.js");
    return [...cards.values()].map(({ name, element, message }) => ({
        name,
        state: element.dataset.state,
        said: element.querySelector(".wrong")?.textContent,
        best: message?.best.map(({ map, ...rest }) => ({ ...rest, map: map && [...map.cells] })),
        scores: message && [...message.scores],
        pixels: message && [...message.pixels],
        milliseconds: message?.milliseconds,
    }));
}"""


class Handler(http.server.SimpleHTTPRequestHandler):
    """Files of a folder, with the headers that a page needs for threads."""

    def end_headers(self):
        self.send_header("Cross-Origin-Opener-Policy", "same-origin")
        self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        super().end_headers()

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def served(folder):
    """The address of a folder's files."""
    handler = functools.partial(Handler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()


@contextlib.contextmanager
def chromium():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=[*QUIET, *CAMERA])
        try:
            yield browser
        finally:
            browser.close()


@contextlib.contextmanager
def opened(browser, address, *, threads=1, **options):
    """A page that is ready, and the addresses that it has asked for."""
    context = browser.new_context(**options)
    context.set_default_timeout(PATIENCE)
    page, asked = context.new_page(), []
    context.on("request", lambda request: asked.append(request.url))
    try:
        page.goto(f"{address}?threads={threads}")
        page.wait_for_selector("body[data-ready], body[data-failed]")
        page.evaluate("document.body.dataset.whole = 'true'")
        yield page, asked
    finally:
        context.close()


def answers(page, paths):
    """What the page says of files, in their order."""
    before = page.locator("#answers > li").count()
    page.set_input_files("#files", [str(path) for path in paths])
    page.wait_for_function(
        "count => document.querySelectorAll("
        "'#answers > li[data-state=answered], #answers > li[data-state=error]').length === count",
        arg=before + len(paths),
    )  # fmt: skip
    return page.evaluate(ANSWERS)[before:]
