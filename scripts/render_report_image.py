"""Takes the pictures of reports for the README and docs: `python -m scripts.render_report_image`.

Runs of the demo model on all of its benchmark, with images of full size and scaled down to 6 by 6 pixels and less; a
report of two and the list of all in a real browser. The confusions and most categories are left out of the report's
picture, and the list's folder, which is a temporary one.
"""

from __future__ import annotations

import io
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image
from selenium import webdriver

from scripts.chromium import chromium, open_page, wait_for

IMAGES = Path(__file__).parents[1] / "docs" / "images"
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
        take_report(page, IMAGES / "report.png")
        for pixels in (25, 16):
            smaller = [*demo, "--image", f"max_pixels={pixels}", "--output", f"runs/small-{pixels}"]
            subprocess.run(smaller, check=True, cwd=folder)
        take_list(folder, IMAGES / "view.png")


def take_report(page: Path, target: Path) -> None:
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
        save(browser, target)


def take_list(folder: Path, target: Path) -> None:
    """What `muster view` shows of the runs, with one task's scores as a chart."""
    command = [sys.executable, "-m", "muster", "view", "runs", "--port", "0"]
    server = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        address = re.findall(r"http://\S+", server.stdout.readline())[0]
        with chromium(folder / "profile", WIDTH, 560) as browser:
            open_page(browser, f"{address}?task=digits_hard")
            browser.execute_script("document.querySelector('header p').remove()")  # a temporary folder
            save(browser, target)
    finally:
        server.terminate()
        server.wait()


def save(browser: webdriver.Chrome, target: Path) -> None:
    """What the browser shows, as a PNG of few colours."""
    picture = Image.open(io.BytesIO(browser.get_screenshot_as_png())).convert("RGB")
    target.parent.mkdir(parents=True, exist_ok=True)
    picture.quantize(96, Image.Quantize.MAXCOVERAGE).save(target, optimize=True)


if __name__ == "__main__":
    main()
