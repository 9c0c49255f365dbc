"""One erasure as its people see it: from the public form to a certificate verified offline.

Screens are kept in $JOURNEY_SCREENSHOTS (light and dark, 1440 and 360 px wide) when it is set.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.journeys.conftest import ROOT, Installation, wait_for

pytestmark = [
    pytest.mark.journey,
    pytest.mark.enable_socket,
    pytest.mark.skipif(not shutil.which("chromium"), reason="Chromium is not installed"),
]
SHOTS = os.environ.get("JOURNEY_SCREENSHOTS")
AXE = (ROOT / "tests" / "vendor" / "axe.min.js").read_text()
EMAIL = "c00004@customers.example"


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"),
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        yield browser
        browser.close()


class Person:
    """Somebody in a browser of their own."""

    def __init__(self, browser: Browser, running: Installation, username: str = "") -> None:
        self.page: Page = browser.new_context(
            base_url=running.url, viewport={"width": 1440, "height": 900}
        ).new_page()
        self.page.set_default_timeout(20_000)
        self.faults: list[str] = []
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on(
            "console",
            lambda message: self.faults.append(message.text) if message.type == "error" else None,
        )
        if username:
            name, password = running.sign_ins[username]
            self.page.goto("/sign-in/")
            self.page.get_by_label("User name", exact=True).fill(name)
            self.page.get_by_label("Password", exact=True).fill(password)
            self.page.get_by_role("button", name="Sign in").click()
            expect(self.page).to_have_url(re.compile(r"/$"))

    def look(self, name: str) -> None:
        """Checks the page for accessibility in both themes, and keeps pictures of it."""
        for theme in ("light", "dark"):
            self.page.emulate_media(color_scheme=theme, reduced_motion="reduce")
            self.page.wait_for_timeout(250)  # colours fade into each other when the theme changes
            self.page.evaluate(AXE)
            found = self.page.evaluate(
                "async () => (await axe.run()).violations.map(v => v.id + ': ' + v.nodes[0].html)"
            )
            assert found == [], f"{name} ({theme}): {found}"
            if SHOTS:
                for width in (1440, 360):
                    self.page.set_viewport_size({"width": width, "height": 900})
                    self.page.screenshot(
                        path=str(Path(SHOTS) / f"{name}-{theme}-{width}.png"), full_page=True
                    )
        self.page.set_viewport_size({"width": 360, "height": 800})
        wide = self.page.evaluate("document.documentElement.scrollWidth")
        assert wide <= 360, f"{name} is {wide} px wide on a phone of 360 px"
        self.page.set_viewport_size({"width": 1440, "height": 900})
        self.page.emulate_media(color_scheme="light")

    def press(self, name: str) -> None:
        """Presses a button and, where it asks first, confirms."""
        self.page.get_by_role("button", name=name, exact=True).first.click()
        yes = self.page.locator("dialog[open] [data-confirm-yes]")
        if yes.count():
            yes.click()


def code_for(running: Installation) -> str:
    """The code as the person reads it in the sample company's mailbox."""

    def look() -> str | None:
        text = httpx.get(f"{running.url}/mailbox/").text
        found = re.search(r"confirmation code is (\d{6})", text)
        return found.group(1) if found else None

    return str(wait_for(look, message="for the code"))


def test_from_the_form_to_a_verified_certificate(
    installation: Installation, chromium: Browser, tmp_path: Path
) -> None:
    running = installation

    subject = Person(chromium, running)
    subject.page.goto("/privacy/")
    subject.look("privacy-start")
    subject.page.get_by_role("link", name="Start").click()
    subject.look("privacy-form")
    subject.page.get_by_label("E-mail address", exact=True).fill(EMAIL)
    subject.page.get_by_role("button", name="Continue").click()
    subject.look("privacy-code")
    subject.page.get_by_label("Confirmation code").fill(code_for(running))
    subject.page.get_by_role("button", name="Confirm my request").click()
    reference = subject.page.locator(".reference").inner_text()
    assert re.fullmatch(r"R-\d{4}-\d{4}", reference)
    subject.look("privacy-status")

    analyst = Person(chromium, running, "analyst")
    analyst.look("home-analyst")
    analyst.page.goto("/requests/")
    analyst.look("queue")
    analyst.page.get_by_role("link", name=reference).click()
    analyst.press("Run discovery")
    expect(analyst.page.get_by_role("heading", name="Plan 1")).to_be_visible(timeout=60_000)
    expect(analyst.page.get_by_text("in use").first).to_be_visible()
    analyst.look("request-plan")

    dpo = Person(chromium, running, "dpo")
    dpo.page.goto(f"/requests/{reference}/")
    dpo.press("Approve plan 1")
    expect(dpo.page.get_by_text("Your approval is recorded")).to_be_visible()
    approve_among_several(running, chromium, reference)

    analyst.page.reload()
    analyst.press("Execute the erasure")
    expect(analyst.page.get_by_text("Completed and proved").first).to_be_visible(timeout=120_000)
    analyst.page.reload()
    analyst.look("request-completed")

    subject.page.reload()
    expect(subject.page.get_by_text("Your data were erased").first).to_be_visible()

    check_notice(running, chromium)
    check_auditor(running, chromium, reference, tmp_path)
    for person in (subject, analyst):
        assert person.faults == []


def approve_among_several(running: Installation, chromium: Browser, reference: str) -> None:
    """The data owner approves on the page of all plans; without a tick nothing is asked."""
    owner = Person(chromium, running, "data-owner")
    page = owner.page
    page.goto("/requests/approvals/")
    owner.look("approvals")
    owner.press("Approve the ticked plans")
    expect(page.get_by_text("No plan was chosen.")).to_be_visible()
    every, this = (
        page.get_by_label(name, exact=True)
        for name in ("Every plan on this page", f"Approve plan 1 of {reference}")
    )
    every.check()
    expect(this).to_be_checked()
    this.uncheck()
    expect(every).not_to_be_checked()
    every.check()
    every.uncheck()
    this.check()
    owner.press("Approve the ticked plans")
    expect(page.get_by_text("Your approval of 1 plan is recorded.")).to_be_visible()
    assert owner.faults == []


def check_notice(running: Installation, chromium: Browser) -> None:
    """The model owner acknowledges, retrains for real, and closes the notice by proof."""
    owner = Person(chromium, running, "model-owner")
    owner.look("home-model-owner")
    owner.page.goto("/notices/")
    owner.look("notices")
    owner.page.get_by_role("link", name=re.compile(r"Notice \d+")).last.click()
    address = owner.page.url
    owner.press("Acknowledge")
    owner.press("Retraining has started")
    done = subprocess.run(
        [sys.executable, "-m", "sample.retrain", "--url", running.url, "--home", str(running.home)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    owner.page.goto(address)
    owner.page.get_by_label("Answered by").select_option("3")
    owner.press("Check and close")
    expect(owner.page.get_by_text("Every check holds").first).to_be_visible()
    owner.look("notice-closed")
    assert owner.faults == []


def check_auditor(running: Installation, chromium: Browser, reference: str, tmp_path: Path) -> None:
    auditor = Person(chromium, running, "auditor")
    page = auditor.page
    auditor.press("Verify now")
    expect(page.get_by_text("The log holds.").first).to_be_visible(timeout=60_000)

    def all_verified() -> bool:
        page.reload()
        return page.get_by_text("verified", exact=True).first.is_visible()

    wait_for(
        all_verified, seconds=150, message="for what was recorded meanwhile to be checked, too"
    )
    page.goto("/")
    expect(page.get_by_text("verified", exact=True).first).to_be_visible()
    auditor.look("home-auditor")
    page.goto("/log/")
    auditor.look("log")
    page.goto("/log/3/")
    auditor.look("log-entry")
    page.goto("/datasets/")
    auditor.look("datasets")
    page.get_by_role("link", name="purchases").first.click()
    auditor.look("dataset")
    dataset = page.url
    page.goto(f"{dataset}?tab=lineage")
    auditor.look("dataset-lineage")
    page.goto(f"{dataset}datasheet/")
    auditor.look("datasheet")
    page.goto("/models/")
    auditor.look("models")
    page.get_by_role("link", name="purchase-again").first.click()
    auditor.look("model")
    page.goto(f"{page.url}card/")
    auditor.look("model-card")
    page.goto("/stores/")
    auditor.look("stores")
    page.goto(f"/requests/{reference}/")
    auditor.look("request-auditor")
    assert EMAIL not in page.content()
    page.goto("/reports/")
    auditor.look("reports")
    page.goto(f"/certificates/{reference}/")
    auditor.look("certificate")
    pdf = tmp_path / "certificate.pdf"
    with page.expect_download() as download:
        page.get_by_role("link", name=re.compile("PDF")).first.click()
    download.value.save_as(pdf)
    valid = subprocess.run(
        [sys.executable, "-m", "audit.ledger", "verify", str(pdf)],
        cwd=ROOT, env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert valid.returncode == 0, valid.stdout + valid.stderr
    if SHOTS:
        shutil.copy(pdf, SHOTS)
    page.goto("/verify/")
    auditor.look("verify")
    page.set_input_files("input[type=file]", str(pdf))
    expect(page.get_by_text(re.compile(r"\bvalid\b", re.IGNORECASE)).first).to_be_visible()
    assert auditor.faults == []
