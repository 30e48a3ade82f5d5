"""Each table that has a row for each kind of weak thing has one, and each is named on the page."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import weakreduce
from weakreduce import api
from weakreduce.core import encode
from weakreduce.engines import joblib_hashing
from weakreduce.model.kinds import KINDS, Kind
from weakreduce.reading import spelling, vocabulary, weak_parts

PACKAGE = Path(weakreduce.__file__).parent
CONTAINERS = [kind for kind in KINDS if kind.is_container]
#: Those whose instances payloads make by a call of their own name.
NAMED = [kind for kind in KINDS if not kind.is_container and not kind.is_finalizer]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.base.__name__)
def test_every_kind_has_an_encoder(kind: Kind) -> None:
    assert kind.name in encode._ENCODERS


@pytest.mark.parametrize("kind", NAMED, ids=lambda kind: kind.base.__name__)
def test_every_reference_has_a_word(kind: Kind) -> None:
    assert kind.name in spelling.REFERENCES.values()


@pytest.mark.parametrize("kind", CONTAINERS, ids=lambda kind: kind.name)
def test_every_container_has_its_rows(kind: Kind) -> None:
    assert kind.base in encode._FILLS
    fill, _ = encode._FILLS[kind.base]
    assert fill.__name__ in vocabulary.CALLS
    assert f"builtins.{fill.__qualname__}" in weak_parts._FILLERS
    assert kind.name in api._UNPIN
    assert kind.name in vocabulary._CONTAINERS
    assert kind.name in joblib_hashing._COLLECTIONS


@pytest.mark.parametrize("page", ["contributing.md", "explanation/how-it-works.md"])
def test_what_a_page_names_is_there(page: str) -> None:
    """Each file on it exists, and each constant is in one of these."""
    text = (PACKAGE.parent / "docs" / page).read_text(encoding="utf-8")
    folders = [path for path in PACKAGE.iterdir() if path.is_dir()]
    roots = (PACKAGE.parent, PACKAGE, *folders)
    files = {
        name: [root / name for root in roots if (root / name).exists()]
        for name in re.findall(r"`((?:\w+/)*\w+\.py)`", text)
    }
    assert len(files) > 15
    assert [name for name, found in files.items() if not found] == []
    sources = [path.read_text(encoding="utf-8") for found in files.values() for path in found]
    names = set(re.findall(r"`(_?[A-Z][A-Z_]+|Host\w+)`", text))
    assert len(names) >= (10 if page == "contributing.md" else 1)
    assert [n for n in names if not any(re.search(rf"\b{n}\b", s) for s in sources)] == []
