"""The page /verify/ in a real browser."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from django.conf import settings
from django.http import HttpResponse
from playwright.sync_api import Browser, Page, Route

ADDRESS = "https://vestige.test"


class VerifyPage:
    """The page, open in a browser that asks nobody but the test.

    Playwright occupies its thread with an event loop, in which Django would refuse to work: so
    the browser has a thread of its own.
    """

    def __init__(self, answer: HttpResponse, browser: Browser, thread: ThreadPoolExecutor) -> None:
        self.asked: list[str] = []
        self._answer, self._thread = answer, thread
        self._page: Page = thread.submit(self._open, browser).result()
        self.asked.clear()

    def _open(self, browser: Browser) -> Page:
        page = browser.new_page()
        page.route("**/*", self._fulfil)
        page.goto(f"{ADDRESS}/verify/", wait_until="load")
        return page

    def _fulfil(self, route: Route) -> None:
        path = route.request.url.removeprefix(ADDRESS)
        self.asked.append(f"{route.request.method} {path}")
        if path == "/verify/":
            headers = {"Content-Security-Policy": self._answer["Content-Security-Policy"]}
            route.fulfill(body=self._answer.content, content_type="text/html", headers=headers)
        elif path.startswith("/static/"):
            route.fulfill(path=Path(settings.BASE_DIR) / path[1:])
        else:
            route.abort()

    def trust(self, vkey: str) -> None:
        def fill() -> None:
            if not self._page.is_visible("#vkey"):
                self._page.click("summary:has-text('Compare with a key')")
            self._page.fill("#vkey", vkey)

        self._thread.submit(fill).result()

    def compare_with(self, content: bytes, name: str = "proof.json") -> None:
        """Choose what a receipt is compared with."""

        def choose() -> None:
            if not self._page.is_visible("#against"):
                self._page.click("summary:has-text('keep its word')")
            self._page.set_input_files(
                "#against", {"name": name, "mimeType": "", "buffer": content}
            )

        self._thread.submit(choose).result()

    def judge(self, content: bytes, name: str = "evidence.json") -> tuple[bool, str]:
        """Whether the browser says valid, and all that it says."""
        return self._thread.submit(self._judge, content, name).result()

    def _judge(self, content: bytes, name: str) -> tuple[bool, str]:
        page = self._page
        page.locator("#verdict").evaluate("node => node.hidden = true")
        page.set_input_files("#file", {"name": name, "mimeType": "", "buffer": content})
        page.wait_for_selector("#verdict:not([hidden])")
        return ": valid" in page.inner_text("#verdict-title"), page.inner_text("#verdict")

    def close(self) -> None:
        self._thread.submit(self._page.close).result()
