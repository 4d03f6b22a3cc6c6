"""Headless Chromium through its driver's WebDriver protocol; needs no package."""

import json
import shutil
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")

needs_browser = pytest.mark.skipif(
    not (CHROMIUM and DRIVER),
    reason="needs Chromium and its driver (Debian packages chromium, chromium-driver)",
)

_FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--disable-dev-shm-usage", "--window-size=1240,1400", "--force-device-scale-factor=1"),
]


class Browser:
    """A page in a window.

    Args:
        session: address of the WebDriver session.
    """

    def __init__(self, session: str):
        self._session = session

    def open(self, path: Path) -> None:
        """Open a file."""
        self._do("POST", "/url", {"url": path.resolve().as_uri()})

    def run(self, script: str, *arguments: object) -> Any:
        """What the body of a function returns in the page; a promise's value."""
        return self._do("POST", "/execute/sync", {"script": script, "args": list(arguments)})

    def wait(self, condition: str, seconds: float = 20) -> None:
        """Wait until an expression holds in the page."""
        # Written into the script, as the page's policy forbids `eval`.
        script = (
            "const end = performance.now() + arguments[0];"
            "return new Promise((done) => { const look = () => {"
            f"const holds = Boolean({condition});"
            "if (holds || performance.now() > end) done(holds); else setTimeout(look, 20);"
            "}; look(); });"
        )
        assert self.run(script, 1000 * seconds), condition

    def console(self) -> list[str]:
        """What the page has complained about since the last call."""
        entries = self._do("POST", "/se/log", {"type": "browser"})
        return [entry["message"] for entry in entries]

    def requests(self) -> list[str]:
        """Addresses that the page has asked for since the last call."""
        entries = self._do("POST", "/se/log", {"type": "performance"})
        events = [json.loads(entry["message"])["message"] for entry in entries]
        return [
            event["params"]["request"]["url"]
            for event in events
            if event["method"] == "Network.requestWillBeSent"
        ]

    def click(self, x: int, y: int) -> None:
        """Click on a place of the window, as a mouse does."""
        moves = [
            {"type": "pointerMove", "duration": 0, "x": x, "y": y},
            {"type": "pointerDown", "button": 0},
            {"type": "pointerUp", "button": 0},
        ]
        mouse = {"type": "pointer", "id": "mouse", "actions": moves}
        self._do("POST", "/actions", {"actions": [mouse]})

    def screenshot(self) -> str:
        """A picture of the window, PNG in base64."""
        return self._do("GET", "/screenshot")

    def dark(self, wanted: bool) -> None:
        """Prefer dark or light colours."""
        feature = {"name": "prefers-color-scheme", "value": "dark" if wanted else "light"}
        parameters = {"features": [feature]}
        self._do(
            "POST",
            "/goog/cdp/execute",
            {"cmd": "Emulation.setEmulatedMedia", "params": parameters},
        )

    def _do(self, method: str, path: str, body: dict[str, object] | None = None) -> Any:
        return _ask(method, self._session + path, body)


@contextmanager
def browser(profile: Path) -> Iterator[Browser]:
    """A browser with an empty profile.

    Args:
        profile: folder that does not exist yet.
    """
    assert CHROMIUM
    assert DRIVER
    with subprocess.Popen([DRIVER, "--port=0"], stdout=subprocess.PIPE, text=True) as driver:
        try:
            address = f"http://127.0.0.1:{_port(driver)}"
            options = {"binary": CHROMIUM, "args": [*_FLAGS, f"--user-data-dir={profile}"]}
            wanted = {
                "goog:chromeOptions": options,
                "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
            }
            body = {"capabilities": {"alwaysMatch": wanted}}
            session = _ask("POST", f"{address}/session", body)["sessionId"]
            place = f"{address}/session/{session}"
            try:
                _ask("POST", f"{place}/url", {"url": "about:blank"})
                yield Browser(place)
            finally:
                _ask("DELETE", place)
        finally:
            driver.terminate()


def _port(driver: subprocess.Popen[str]) -> str:
    assert driver.stdout is not None
    for line in driver.stdout:
        if "started successfully on port" in line:
            return line.rstrip().rstrip(".").rpartition(" ")[2]
    raise AssertionError("the driver did not start")


def _ask(method: str, address: str, body: dict[str, object] | None = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(address, data, headers, method=method)
    # Not through a proxy that the environment may name.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=90) as answer:
            return json.load(answer)["value"]
    except urllib.error.HTTPError as error:
        with error:
            raise AssertionError(error.read().decode()) from error
