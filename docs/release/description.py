"""The README as a package index shows it, which has no files beside it.

``[tool.setuptools.cmdclass]`` names :class:`Description`, so that every build does it. Where
``[project.urls]`` has a ``Source``, links and pictures lead there, at the tag of the version;
without one pictures and their captions are left out, and a link is its text.
"""

from __future__ import annotations

import re
from pathlib import Path

from setuptools.command.egg_info import egg_info

_LINK = re.compile(r"(!?)\[([^]]*)\]\(([^)\s]+)\)")
_CAPTION = re.compile(r"\*(?!\*).*\*", re.DOTALL)
_MARKS = (".dev", "+")  # of a version without a tag


def address(source: str, version: str, path: str, *, picture: bool) -> str:
    """Where a file of the repository is on the web, in the layout of GitHub and GitLab."""
    ref = "HEAD" if any(mark in version for mark in _MARKS) else f"v{version}"
    return f"{source.rstrip('/')}/{'raw' if picture else 'blob'}/{ref}/{path}"


def absolute(readme: str, source: str, version: str) -> str:
    """The README with every link to a file beside it made a link into ``source``.

    Parameters
    ----------
    readme : text in Markdown.
    source : address of the repository.
    version : of the package.
    """

    def linked(match: re.Match[str]) -> str:
        mark, text, target = match.groups()
        if "://" in target or target.startswith("#"):
            return match[0]
        return f"{mark}[{text}]({address(source, version, target, picture=bool(mark))})"

    return _LINK.sub(linked, readme)


def alone(readme: str) -> str:
    """The README without what needs the files beside it: pictures, captions and targets of links.

    Parameters
    ----------
    readme : text in Markdown.
    """

    def text(match: re.Match[str]) -> str:
        inside = "://" not in match[3] and not match[3].startswith("#")
        return match[2] if inside else match[0]

    blocks = (block.strip("\n") for block in readme.split("\n\n"))
    kept = [b for b in blocks if not b.startswith("![") and not _CAPTION.fullmatch(b)]
    return _LINK.sub(text, "\n\n".join(kept)) + "\n"


class Description(egg_info):
    """setuptools' command that writes the metadata, with the description of an index."""

    def finalize_options(self) -> None:
        """Settle name and version, as ever, then what the description says."""
        super().finalize_options()
        metadata = self.distribution.metadata
        readme = Path("README.md").read_text(encoding="utf-8")
        source = (metadata.project_urls or {}).get("Source")
        version = str(metadata.version)
        metadata.long_description = absolute(readme, source, version) if source else alone(readme)
