"""How large an HTML report of 5,000 faces is, and how long it takes to make and to open.

    python tests/benchmarks/html_report.py [PICTURE_OR_FOLDER...]

Judges the pictures (default: the samples) and repeats their records, one to four faces each, until there are 5,000
faces. Opening it needs Chromium and the extra `browser`.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import shutil
import tempfile
import time
from pathlib import Path

from facefake.html_report import write_html
from facefake.results import ImageResult
from facefake.scanning import scan

SAMPLES = Path(__file__).resolve().parents[2] / "samples"
FACES = 5_000


def write_records(pictures: list[Path], target: Path) -> int:
    """Write records with `FACES` faces in all; returns how many records there are."""
    found = [record.to_dict() for record in scan(pictures, workers=0) if isinstance(record, ImageResult)]
    found = [record for record in found if record["faces"]]
    chance, faces, lines = random.Random(1), 0, []
    while faces < FACES:
        record = dict(chance.choice(found))
        count = min(chance.randint(1, 4), len(record["faces"]), FACES - faces)
        chosen = chance.sample(record["faces"], count)
        record["faces"] = [{**face, "index": index} for index, face in enumerate(chosen)]
        faces += count
        link = target.with_name(f"{len(lines)}{Path(record['path']).suffix}")  # each picture counts once
        link.symlink_to(Path(record["path"]).absolute())
        record["path"] = str(link)
        lines.append(json.dumps(record) + "\n")
    target.write_text("".join(lines))
    return len(lines)


def open_report(page: Path) -> None:
    """Print how long a browser takes to show the first faces, to sort, to filter, and to scroll to the end."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=flags)
        tab = browser.new_page()
        started = time.perf_counter()
        tab.goto(page.as_uri())
        tab.locator(".card").first.wait_for()
        print(f"opened in {time.perf_counter() - started:.1f} s", end="; ")
        for what, act in {
            "sorted": lambda: tab.select_option("#sort", "name"),
            "filtered": lambda: tab.get_by_role("button", name="real").first.click(),
            "scrolled to the end": lambda: (tab.locator(".card").first.focus(), tab.keyboard.press("End")),
        }.items():
            started = time.perf_counter()
            act()
            tab.evaluate("new Promise((done) => requestAnimationFrame(() => setTimeout(done)))")
            print(f"{what} in {time.perf_counter() - started:.1f} s", end="; ")
        print()
        browser.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("pictures", nargs="*", type=Path, default=[SAMPLES])
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        records, page = Path(folder, "results.jsonl"), Path(folder, "report.html")
        count = write_records(arguments.pictures, records)
        wall, cpu = time.perf_counter(), time.process_time()
        write_html(records, page)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(
            f"{FACES:,} faces in {count:,} pictures: {page.stat().st_size / 2**20:.1f} MiB, "
            f"made in {wall:.0f} s ({cpu:.0f} s of CPU), peak memory {peak:.0f} MiB"
        )
        open_report(page)


if __name__ == "__main__":
    main()
