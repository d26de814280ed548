"""What a release consists of agrees: the version, which is kept in one place, changelog, citation and workflows."""

import re
import tomllib
from pathlib import Path

import openmm_nemo
from openmm_nemo.version import __version__

ROOT = Path(__file__).parents[2]


def test_the_package_and_its_build_take_it_from_there():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert openmm_nemo.__version__ == __version__
    assert "version" in project["project"]["dynamic"]
    source = project["tool"]["setuptools"]["dynamic"]["version"]["attr"]
    assert source == "openmm_nemo.version.__version__"


def releases() -> dict[str, str]:
    """Versions in the changelog with their dates, newest first; "Unreleased" has none."""
    found = re.findall(
        r"^## \[(.+?)\](?: - (\d{4}-\d\d-\d\d))?$", (ROOT / "CHANGELOG.md").read_text(), re.M
    )
    return dict(found)


def test_the_changelog_has_this_version_or_what_will_become_it():
    versions = releases()
    assert next(iter(versions)) == ("Unreleased" if "dev" in __version__ else __version__)
    dates = [date for version, date in versions.items() if version != "Unreleased"]
    assert all(dates)
    assert dates == sorted(dates, reverse=True)


def test_the_citation_is_of_the_last_release():
    version, date = next(item for item in releases().items() if item[0] != "Unreleased")
    lines = (ROOT / "CITATION.cff").read_text().splitlines()
    assert f"version: {version}" in lines
    assert f'date-released: "{date}"' in lines


def test_workflows_call_targets_of_the_makefile():
    rules = re.findall(r"^([\w -]+):", (ROOT / "Makefile").read_text(), re.M)
    targets = {target for rule in rules for target in rule.split()}
    workflows = list((ROOT / ".github" / "workflows").glob("*.yml"))
    called = {
        target
        for path in workflows
        for target in re.findall(r"run: make ([\w-]+)", path.read_text())
    }
    assert called >= {"check", "test", "test-matrix", "test-slow", "docs"}
    assert called <= targets


def test_the_table_of_contributors_has_every_extra():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    section = (ROOT / "CONTRIBUTING.md").read_text().split("## Optional packages")[1]
    rows = re.findall(r"^\| `(\w+)` \|", section.split("\n## ")[0], re.M)
    assert sorted(rows) == sorted(project["optional-dependencies"])
