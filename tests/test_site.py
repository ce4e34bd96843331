"""The site's own check: a link that leads nowhere is found."""

import importlib.util
from pathlib import Path

import pytest

LINKS = Path(__file__).parents[1] / "docs/site/links.py"


@pytest.fixture
def broken():
    spec = importlib.util.spec_from_file_location("links", LINKS)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.broken


def test_links_that_lead_nowhere_are_found(tmp_path, broken):
    (tmp_path / "api").mkdir()
    (tmp_path / "a picture.png").touch()
    (tmp_path / "index.html").write_text(
        "<h1 id='top'></h1> <a href='#top'></a> <a href='api/cells.html#cells.RHN'></a>"
        "<img src='a%20picture.png'> <a href='https://arxiv.org/abs/1607.03474'></a>"
        "<a href='#bottom'></a> <a href='api/cells.html#cells.LSTM'></a>"
        "<a href='api/core.html'></a> <img src='a%20tune.mid'> <a href='../outside.html'></a>"
        "<script src='https://cdn.example/x.js'></script> <img src='data:image/png;base64,AA=='>"
        "<link rel='stylesheet' href='//cdn.example/x.css'> <link rel='canonical' href='https://a.b'>"
    )
    (tmp_path / "api/cells.html").write_text(
        "<h2 id='cells.RHN'></h2> <a href='..'></a> <a href='/index.html#top'></a>"
        "<a href='index.html'></a>"
    )
    (tmp_path.parent / "outside.html").touch()
    assert broken(tmp_path) == [
        "api/cells.html: index.html",
        "index.html: #bottom",
        "index.html: ../outside.html",
        "index.html: //cdn.example/x.css",
        "index.html: a%20tune.mid",
        "index.html: api/cells.html#cells.LSTM",
        "index.html: api/core.html",
        "index.html: https://cdn.example/x.js",
    ]
