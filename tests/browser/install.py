"""Get what the browser tests need: Playwright for this Python, and Chromium. Without them they are skipped.

python tests/browser/install.py
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def main() -> None:
    """Install what is missing, and say what could not be."""
    if importlib.util.find_spec("playwright") is None:
        words = [
            sys.executable,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "-c",
            "constraints.txt",
        ]
        subprocess.run([*words, "playwright"], check=False)
    if not any(shutil.which(name) for name in NAMES) and shutil.which("apt-get") and os.geteuid() == 0:
        subprocess.run(["apt-get", "install", "--yes", "--quiet", "chromium"], check=False)
    if importlib.util.find_spec("playwright") is None or not any(shutil.which(name) for name in NAMES):
        sys.stderr.write("the browser tests will be skipped: Playwright or Chromium is missing\n")


if __name__ == "__main__":
    main()
