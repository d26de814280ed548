"""Check the built site: every link inside it leads somewhere, and nothing is loaded from other hosts.

python docs/check_site.py FOLDER
"""

import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADED = {("script", "src"), ("img", "src"), ("link", "href"), ("iframe", "src"), ("source", "src")}
"""What a browser fetches by itself, as opposed to what a reader clicks on."""


class Page(HTMLParser):
    """Anchors and links of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[tuple[str, str, str]] = []
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note ids and whatever has an address."""
        for name, value in attrs:
            if name == "id" and value:
                self.anchors.add(value)
            elif name in ("href", "src") and value:
                self.links.append((tag, name, value))


def problems(folder: Path) -> list[str]:
    """One line per link that leads nowhere or per file that would be loaded from another host."""
    pages = {path.resolve(): Page(path) for path in sorted(folder.rglob("*.html"))}
    found = []
    for path, page in pages.items():
        where = path.relative_to(folder.resolve())
        for tag, name, link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                if (tag, name) in LOADED and parts.scheme != "data":
                    found.append(f"{where} loads {link}")
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not target.exists():
                found.append(f"{where} links to {link}, which does not exist")
            elif parts.fragment and target in pages:
                anchor = unquote(parts.fragment)
                if anchor not in pages[target].anchors:
                    found.append(
                        f"{where} links to {link}, but there is no such place on that page"
                    )
    for path in sorted(folder.rglob("*.css")):
        for address in re.findall(r"url\(['\"]?(\w+:)?//[^)]*\)", path.read_text()):
            found.append(f"{path.relative_to(folder)} loads a file by {address}")
    return found


def main() -> int:
    """Print what is wrong; 1 if there is anything."""
    found = problems(Path(sys.argv[1]))
    print(
        "\n".join(found)
        or "All links inside the site lead somewhere; nothing is loaded from elsewhere."
    )
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
