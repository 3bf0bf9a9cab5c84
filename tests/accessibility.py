"""What axe-core finds in the page that a browser shows."""

from __future__ import annotations

from pathlib import Path

from selenium.webdriver import Chrome

_AXE = Path(__file__).with_name("axe") / "axe.min.js"
_RUN = """
const done = arguments[0];
axe.run().then((result) => done(result.violations.map((each) =>
  `${each.id} (${each.impact}): ${each.nodes.map((node) => node.html.slice(0, 200)).slice(0, 3).join(" | ")}`)));
"""


def findings(browser: Chrome) -> list[str]:
    """Its violations, best practices too. The page's policy stays in force: axe comes in as a debugger does."""
    browser.execute_cdp_cmd("Runtime.evaluate", {"expression": _AXE.read_text(encoding="utf-8")})
    found: list[str] = browser.execute_async_script(_RUN)
    return found


def prefer(browser: Chrome, scheme: str) -> None:
    """Have pages shown to somebody who prefers `light` or `dark`."""
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
