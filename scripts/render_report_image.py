"""Takes the picture of a report for README.md: `python -m scripts.render_report_image`. Needs Debian's chromium-driver.

Two runs of the demo model on all of its benchmark, one of them with every image scaled down to 6 by 6 pixels, and their
report in a real browser. The confusions and most categories are left out of the picture; nothing in it is made by hand.
"""

from __future__ import annotations

import io
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

from scripts.chromium import chromium, open_page, wait_for

TARGET = Path(__file__).parents[1] / "docs" / "images" / "report.png"
WIDTH, HEIGHT = 1240, 1900


def main() -> None:
    """Run, report, look."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        muster = [sys.executable, "-m", "muster"]
        demo = [*muster, "run", "--model", "demo", "--tasks", "digits", "--progress", "none"]
        subprocess.run([*demo, "--output", "runs/full"], check=True, cwd=folder)
        subprocess.run([*demo, "--image", "max_pixels=36", "--output", "runs/small"], check=True, cwd=folder)
        page = folder / "report.html"
        subprocess.run(
            [*muster, "report", "runs/full", "runs/small", "--output", str(page)], check=True, cwd=folder
        )
        take(page, TARGET)


def take(page: Path, target: Path) -> None:
    """The top of the page and its samples that got worse, as a PNG of few colours."""
    with chromium(page.parent / "profile", WIDTH, HEIGHT) as browser:
        open_page(browser, f"{page.as_uri()}#show=worse")
        browser.execute_script(
            "for (const each of document.querySelectorAll('.beside')) { each.previousSibling.remove(); each.remove(); }"
            "document.querySelector('details').remove();"
            "[...document.querySelectorAll('h3 + .scroll tr')].slice(5).forEach((row) => row.remove());"
            "document.querySelectorAll('.card')[1].click();"
        )
        wait_for(browser, "document.querySelectorAll('.card img').length > 5")
        wait_for(browser, "document.querySelector('#detail img')")
        picture = Image.open(io.BytesIO(browser.get_screenshot_as_png())).convert("RGB")
    target.parent.mkdir(parents=True, exist_ok=True)
    picture.quantize(96, Image.Quantize.MAXCOVERAGE).save(target, optimize=True)


if __name__ == "__main__":
    main()
