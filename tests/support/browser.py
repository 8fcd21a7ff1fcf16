"""A real browser, headless, driven by WebDriver: chromium with chromium-driver."""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from sandbox.postgres.server import free_port
from tests.support.waiting import eventually

DRIVER = shutil.which("chromedriver")
ARGUMENTS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-dev-shm-usage",
)  # fmt: skip
TIMEOUT_SECONDS = 60


@dataclass
class Browser:
    """One window."""

    session: httpx.Client

    def open(self, url: str) -> None:
        self._post("/url", {"url": url})

    def run(self, script: str) -> Any:
        """Run a script in the page; return its value."""
        return self._post("/execute/sync", {"script": script, "args": []})

    def press(self, label: str) -> None:
        """Click the first button with this text, as a person does."""
        using = {"using": "xpath", "value": f"//button[normalize-space()='{label}']"}
        (element,) = self._post("/element", using).values()
        self._post(f"/element/{element}/click", {})

    def text(self) -> str:
        return str(self.run("return document.body.innerText"))

    def _post(self, path: str, body: dict[str, Any]) -> Any:
        answer = self.session.post(path, json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()["value"]


@contextmanager
def browsing(width: int, height: int) -> Iterator[Browser]:
    """Start a browser with a window of this size, in pixels; a narrow one is that of a phone."""
    assert DRIVER
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="browser-", ignore_cleanup_errors=True) as profile:
        driver = subprocess.Popen(
            [DRIVER, f"--port={port}", "--silent"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        url = f"http://127.0.0.1:{port}"
        try:
            eventually(lambda: _answers(f"{url}/status"), seconds=TIMEOUT_SECONDS)
            metrics = {"width": width, "height": height, "pixelRatio": 1, "touch": False}
            chrome = {
                "args": [*ARGUMENTS, f"--user-data-dir={profile}"],
                "mobileEmulation": {"deviceMetrics": metrics},
            }
            wanted = {"capabilities": {"alwaysMatch": {"goog:chromeOptions": chrome}}}
            answer = httpx.post(f"{url}/session", json=wanted, timeout=TIMEOUT_SECONDS)
            assert answer.status_code == 200, answer.text
            session = f"{url}/session/{answer.json()['value']['sessionId']}"
            with httpx.Client(base_url=session, timeout=TIMEOUT_SECONDS) as client:
                yield Browser(client)
                client.delete("")
        finally:
            driver.terminate()
            driver.wait(timeout=10)


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5).status_code == 200
    except httpx.HTTPError:
        return False
