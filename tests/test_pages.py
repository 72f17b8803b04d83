"""The pages of docs/: their code prints and draws what they say, and their links lead somewhere."""

import re

import pages
import pytest
from helpers import ROOT, require

BYTES = 60_000  # of a figure


def by_page(test):
    return pytest.mark.parametrize("page", pages.PAGES, ids=lambda page: page.stem)(test)


@pytest.mark.frameworks
@by_page
def test_a_page_prints_and_draws_what_it_says(page, tmp_path):
    require("matplotlib").use("Agg")
    require("scipy")
    for package in re.findall(r"^(?:import|from) (torch|jax|sklearn)\b", page.read_text(), re.MULTILINE):
        require(package)
    try:
        for block in pages.run(page, tmp_path):
            assert block.printed == block.expected, block.where
    finally:
        require("matplotlib.pyplot").close("all")
    assert {path.name for path in tmp_path.iterdir()} == {figure.name for figure in pages.figures(page)}


@by_page
def test_links_lead_to_files(page):
    for path in pages.links(page):
        assert path.is_file(), f"{page.name} links {path}"


@by_page
def test_a_page_is_short(page):
    lines = page.read_text().splitlines()
    assert len(lines) <= 140
    assert max(len(line) for line in lines if not line.startswith("|")) <= 120


def test_the_index_has_every_page_and_the_pages_every_figure():
    index = pages.DOCS / "README.md"
    assert {*pages.PAGES} - {index} <= {*pages.links(index)}
    assert index in pages.links(ROOT / "README.md")
    drawn = {figure for page in pages.PAGES for figure in pages.figures(page)}
    assert {*(pages.DOCS / "figures").iterdir()} == drawn
    assert all(figure.stat().st_size < BYTES for figure in drawn)
