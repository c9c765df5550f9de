"""A real browser, without a window."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--enable-unsafe-swiftshader",  # WebGL without a graphics card
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1280,900",
)


class Browser:
    """Chromium without a window."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver

    def open(self, address: str | Path) -> None:
        """Go to a file or an address."""
        self.driver.get(address.as_uri() if isinstance(address, Path) else address)

    def js(self, code: str, *arguments: Any) -> Any:
        """What a piece of JavaScript returns."""
        return self.driver.execute_script(code, *arguments)

    def wait(self, condition: str, *arguments: Any) -> Any:
        """Wait for a JavaScript expression to be true; its value."""
        code = f"""
            const given = [...arguments], done = given.pop();
            const test = (...arguments) => ({condition});
            (function look() {{
              let found = null;
              try {{ found = test(...given); }} catch {{ }}
              if (found) done(typeof found === 'object' ? true : found); else setTimeout(look, 50);
            }})();"""
        return self.driver.execute_async_script(code, *arguments)

    def emulate(self, *, width: int = 1280, height: int = 900, dark: bool = False) -> None:
        """Pretend to be a screen of some size, and the system's choice of colours."""
        self.driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 700},
        )
        features = {
            "prefers-color-scheme": "dark" if dark else "light",
            "prefers-reduced-motion": "reduce",  # what is clicked is where it is
        }
        media = [{"name": name, "value": value} for name, value in features.items()]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": media})

    def errors(self) -> list[str]:
        """What went wrong in the page since the last call."""
        log = self.driver.get_log("browser")  # type: ignore[no-untyped-call]
        return [entry["message"] for entry in log if entry["level"] == "SEVERE"]

    def draw_all(self) -> int:
        """Bring every plot into view, one after the other; how many there are."""
        ids = self.js(
            "return [...document.querySelectorAll('[data-plot]')]"
            ".filter(e => e.offsetParent).map(e => e.id)"
        )
        for plot in ids:
            self.js("document.getElementById(arguments[0]).scrollIntoView({block: 'center'})", plot)
            self.wait(
                "document.getElementById(arguments[0]).querySelector('.main-svg')"
                " && document.getElementById(arguments[0])._fullLayout",
                plot,
            )
        return len(ids)


@contextmanager
def chromium(profile: Path) -> Iterator[Browser]:
    """A browser with a new profile; the test is skipped where there is none."""
    program, driver_path = shutil.which("chromium"), shutil.which("chromedriver")
    if program is None or driver_path is None:
        pytest.skip("needs Chromium and its driver: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for flag in (*_FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    os.environ["SE_OFFLINE"] = "true"  # selenium fetches nothing
    driver = webdriver.Chrome(options=options, service=Service(driver_path))
    driver.set_script_timeout(60)
    try:
        yield Browser(driver)
    finally:
        driver.quit()
