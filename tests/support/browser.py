"""A real browser, headless, driven by WebDriver: chromium with chromium-driver."""

import base64
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from sandbox.postgres.server import free_port
from tests.support.waiting import eventually

DRIVER = shutil.which("chromedriver")
ARGUMENTS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-dev-shm-usage", "--disable-lcd-text",
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

    def press(self, button: str) -> None:
        """Click the first button that an XPath finds, once it is there; a page may replace it meanwhile."""
        eventually(lambda: self._clicked(button), seconds=TIMEOUT_SECONDS)

    def text(self) -> str:
        return str(self.run("return document.body.innerText"))

    def wait_for(self, text: str) -> None:
        eventually(lambda: text in self.text(), seconds=TIMEOUT_SECONDS)

    def picture(self, width: int, height: int) -> bytes:
        """Return the top of the page as PNG, also what is below the window."""
        clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
        params = {"format": "png", "captureBeyondViewport": True, "clip": clip}
        taken = self._post("/goog/cdp/execute", {"cmd": "Page.captureScreenshot", "params": params})
        return base64.b64decode(taken["data"])

    def _clicked(self, button: str) -> bool:
        """Find and click; False if the button is not there, or was replaced between the two."""
        found = self.session.post("/element", json={"using": "xpath", "value": button})
        if found.status_code != 200:
            return False
        (element,) = found.json()["value"].values()
        return self.session.post(f"/element/{element}/click", json={}).status_code == 200

    def _post(self, path: str, body: dict[str, Any]) -> Any:
        answer = self.session.post(path, json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()["value"]


@contextmanager
def browsing(width: int, height: int) -> Iterator[Browser]:
    """Start a browser with a window of this size, in pixels; a narrow one is that of a phone."""
    assert DRIVER
    profile = Path(tempfile.mkdtemp(prefix="browser-"))
    url, session = f"http://127.0.0.1:{free_port()}", ""
    driver = subprocess.Popen(
        [DRIVER, f"--port={url.rpartition(':')[2]}", "--silent"],
        env={**os.environ, "TMPDIR": str(profile)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        eventually(lambda: _answers(f"{url}/status"), seconds=TIMEOUT_SECONDS)
        answer = httpx.post(f"{url}/session", json=_wanted(profile, width, height), timeout=TIMEOUT_SECONDS)
        assert answer.status_code == 200, answer.text
        session = f"{url}/session/{answer.json()['value']['sessionId']}"
        with httpx.Client(base_url=session, timeout=TIMEOUT_SECONDS) as client:
            yield Browser(client)
    finally:
        if session:
            httpx.delete(session, timeout=TIMEOUT_SECONDS)  # ends the browser; the driver alone does not
        driver.terminate()
        driver.wait(timeout=10)
        # The browser's processes write into the folder until they have ended too.
        eventually(lambda: _is_removed(profile), seconds=TIMEOUT_SECONDS)


def _wanted(profile: Path, width: int, height: int) -> dict[str, Any]:
    metrics = {"width": width, "height": height, "pixelRatio": 1, "touch": False}
    chrome = {
        "args": [*ARGUMENTS, f"--user-data-dir={profile / 'profile'}"],
        "mobileEmulation": {"deviceMetrics": metrics},
    }
    return {"capabilities": {"alwaysMatch": {"goog:chromeOptions": chrome}}}


def _is_removed(folder: Path) -> bool:
    shutil.rmtree(folder, ignore_errors=True)
    return not folder.exists()


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5).status_code == 200
    except httpx.HTTPError:
        return False
