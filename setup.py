"""Make the README fit a package index, where its relative links would lead nowhere."""

from __future__ import annotations

import re
from configparser import ConfigParser
from pathlib import Path

from setuptools import setup

HERE = Path(__file__).parent


def index_page(readme: str, home: str) -> str:
    """Return a README whose links lead to the repository at `home`, and its pictures too."""

    def absolute(found: re.Match[str]) -> str:
        is_picture, text, link = found.groups()
        if re.match(r"[a-z]+:|#", link):
            return found[0]
        return f"{is_picture}[{text}]({home}/{'raw' if is_picture else 'blob'}/main/{link})"

    return re.sub(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)", absolute, readme)


def home_of(config: ConfigParser) -> str:
    """Return the address of the repository, which setup.cfg has once."""
    return config["metadata"]["url"].rstrip("/")


if __name__ == "__main__":
    setup_cfg = ConfigParser()
    setup_cfg.read(HERE / "setup.cfg")
    readme = (HERE / "README.md").read_text(encoding="utf-8")
    setup(
        long_description=index_page(readme, home_of(setup_cfg)),
        long_description_content_type="text/markdown",
    )
