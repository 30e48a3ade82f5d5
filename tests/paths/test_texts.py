"""What people read: names without control characters, rows that differ, and narrow places."""

from __future__ import annotations

import logging
import random
import re
import string
import warnings
import weakref
from typing import Any

import pytest
import things
from things import Thing

import weakreduce
from weakreduce import explain
from weakreduce.model import texts
from weakreduce.report import findings

EVIL = "\x1b[31mred\x07\n\u202eReversed\x9b"
Evil = type(EVIL, (Thing,), {"__qualname__": EVIL})
setattr(things, EVIL, Evil)
Evil.__module__ = "things"
KEPT: list[Any] = [Evil(), Thing("kept")]


class Unwilling(type):
    """A class of it cannot say its name."""

    def __getattribute__(cls, name: str) -> Any:
        if name == "__qualname__":
            raise RuntimeError("no name")
        return super().__getattribute__(name)


def is_clean(text: str) -> bool:
    """Whether all is printable, line by line."""
    return all(line.isprintable() for line in text.split("\n"))


# --- names ----------------------------------------------------------------------------


def test_printable() -> None:
    assert texts.printable("plain ünï 観測") == "plain ünï 観測"
    odd = texts.printable("a\nb\tc\x1bd\ud800")
    assert odd.replace("\N{REPLACEMENT CHARACTER}", "?") == "a b c?d?"
    assert texts.class_name(Evil).isprintable()
    assert texts.class_name(Unwilling("Name", (), {})) == "Name"
    assert texts.quoted("x\n" * 1000).isprintable()
    assert len(texts.quoted("x\n" * 1000)) == 200


def evil_root() -> dict[Any, Any]:
    holder = Thing("holder")
    vars(holder)[EVIL] = weakref.proxy(KEPT[0])
    return {
        EVIL: weakref.ref(KEPT[0]),
        "holder": holder,
        Evil(): weakref.ref(KEPT[0], lambda reference: None),
        "set": weakref.WeakSet([KEPT[0]]),
        "key": weakref.WeakValueDictionary({KEPT[0]: KEPT[0]}),
    }


@pytest.mark.parametrize("policy", ["snapshot", "dangle", "strict"])
@pytest.mark.parametrize("host", ["cloudpickle", "dill", "pickle"])
def test_no_report_has_control_characters(policy: str, host: str) -> None:
    report = explain(evil_root(), policy, host)
    assert len(report) >= 5
    for finding in report:
        assert finding.path.isprintable()
        assert finding.referent is not None
        assert finding.referent.isprintable()
        assert finding.reason.isprintable()
    for text in (
        *(report.table(width) for width in (20, 40, 80)), report.to_dot(), report.to_mermaid(),
        report.to_html(), report._repr_html_(), report.to_json(), *report.errors,
        *(failure.text + failure.cause + failure.referent for failure in report.failures),
    ):  # fmt: skip
        assert is_clean(text)


class Broken:
    def __reduce__(self) -> Any:
        raise ValueError(EVIL)


Broken.__qualname__ = EVIL


def test_no_error_warning_or_log_has_control_characters(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with pytest.raises(weakreduce.WeakrefPicklingError) as refused:
        weakreduce.dumps(evil_root(), policy="strict", host="pickle")
    assert is_clean(str(refused.value))

    def match(weak: Any, referent: Any) -> bool:
        return True

    match.__qualname__ = EVIL
    policy = weakreduce.Policy(rules=((match, "refuse"),))
    with pytest.raises(weakreduce.WeakrefPicklingError) as refused:
        weakreduce.dumps(evil_root(), policy=policy, host="pickle")
    assert is_clean(str(refused.value))
    with pytest.raises(ValueError, match="red") as failed:
        weakreduce.dumps([Broken()], host="pickle")
    assert all(is_clean(note) for note in failed.value.__notes__)
    broken = Broken()
    with warnings.catch_warnings(record=True) as caught, caplog.at_level(logging.DEBUG):
        warnings.simplefilter("always")
        weakreduce.dumps([weakref.ref(broken), weakref.ref(KEPT[1], Broken())][:1], host="pickle")
        weakreduce.dumps({Evil(): weakref.ref(broken)}, host="pickle")
        weakreduce.dumps(evil_root(), policy="dangle", host="cloudpickle")
    assert len(caught) >= 2
    assert all(is_clean(str(warning.message)) for warning in caught)
    assert caplog.records
    assert all(is_clean(record.getMessage()) for record in caplog.records)
    assert is_clean(repr(weakreduce.bind(Evil())))
    with pytest.raises(TypeError) as failed_pin:
        weakreduce.is_pinned(Evil())
    assert is_clean(str(failed_pin.value))
    weakreduce.share("evil", KEPT[0])
    with pytest.raises(ValueError, match="evil") as known:
        weakreduce.share("evil", KEPT[1])
    weakreduce.unshare("evil")
    assert is_clean(str(known.value))


# --- rows -----------------------------------------------------------------------------


def alike_texts(choose: random.Random) -> list[str]:
    """Texts that differ little, anywhere."""
    base = "root." + "".join(choose.choices(string.ascii_letters + ".[]'(観", k=150))
    made = {base}
    while len(made) < 30:
        at = choose.randrange(5, len(base))
        made.add(base[:at] + choose.choice("xyz0[.") + base[at + choose.randrange(2) :])
    return sorted(made)


def test_texts_that_differ_look_different() -> None:
    for seed in range(100):
        made = alike_texts(random.Random(seed))
        for width in (20, 30, 60, 200):
            short = texts.told_apart(made, width)
            assert len(set(short)) == len(made), (seed, width)
            assert max(map(texts.columns, short)) <= width
            if width == 200:
                assert short == made


@pytest.mark.parametrize("width", [3, 4])
def test_where_there_is_no_room_for_what_differs_texts_are_numbered(width: int) -> None:
    made = ["x" + "same" * 9, "y" + "same" * 9, "same" * 9 + "x" * 9, "same" * 9 + "y" + "x" * 8]
    short = texts.told_apart([*made, made[1]], width)
    assert len(set(short)) == len(made)
    assert short[-1] == short[1]
    assert max(map(texts.columns, short)) <= width
    assert "…#2" in "".join(short)


def test_the_middle_of_a_path_is_seen() -> None:
    paths = [f"root.application.windows[{n}].toolbar.buttons.owner" for n in range(12)]
    short = texts.told_apart([*paths, paths[0], "root"], 24)
    assert len(set(short)) == 13
    assert all(f"[{n}]" in text for n, text in enumerate(short[:12]))
    assert short[12] == short[0]


def nested(count: int) -> tuple[Any, list[Any]]:
    kept = [Thing(str(n)) for n in range(count)]
    windows = [Thing(toolbar_of_the_window=Thing(buttons={"a long name": weakref.ref(each)}))
               for each in kept]  # fmt: skip
    return {"application": {"all the windows that are open": windows}}, kept


@pytest.mark.parametrize("width", [20, 40, 64, 80, 120])
def test_rows_that_differ_look_different(width: int) -> None:
    root, kept = nested(30)
    report = explain(root, host="pickle")
    lines = report.table(width).split("\n")
    assert max(map(texts.columns, lines)) <= width
    assert is_clean(report.table(width))
    joined = "".join(line.strip() for line in lines)
    for number in range(30):
        assert f"[{number}]" in joined
    if width >= 64:
        rows = [re.sub(r"\d[\d,]* ", "", line) for line in lines if line.startswith("snapshot")]
        assert len(set(rows)) == len(kept)


def test_a_reference_that_many_hold_says_so() -> None:
    parent = Thing("parent")
    children = [Thing(str(n), parent=weakref.ref(parent)) for n in range(1500)]
    other = weakref.ref(parent, things.called)
    report = explain([children, other], host="pickle")
    assert {finding.path: finding.held for finding in report} == {
        "root[0][0].parent": 1500,
        "root[1]": 1,
    }
    assert "held 1,500 times" in str(report)
    assert "held 1,500 times" in report.table(20).replace("\n  ", " ")
    assert "held 1,500 times" in report.to_html()
    assert report.to_dict()["findings"][0]["held"] == 1500
    with weakreduce.record() as recorded:
        weakreduce.dumps([children], host="pickle")
    assert recorded[0].held == 1500


def test_what_stays_behind_is_not_counted_as_holding() -> None:
    parent = Thing("parent")
    parent.children = [Thing(str(n), parent=weakref.ref(parent)) for n in range(9)]
    child = parent.children[0]
    assert explain(child, "dangle", host="pickle")[0].held == 1
    assert explain(child, "snapshot", host="pickle")[0].held == 9


def test_holders_are_not_counted_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weakreduce.paths.search, "_COUNTED", 10)
    parent = Thing("parent")
    root = [Thing(str(n), parent=weakref.ref(parent)) for n in range(50)]
    assert explain(root, host="pickle")[0].held == 1


def test_rows_that_say_the_same_are_one() -> None:
    kept = [Thing("x") for _ in range(40)]
    root = [kept, weakref.WeakSet(kept)]
    report = explain(root, host="pickle")
    assert len(report) == 40
    for width in (40, 80):
        text = report.table(width)
        assert text.count("root[1][<Thing>]") == 1
        assert "40 alike" in text
        assert "more" not in text
    assert "40 alike" in report.to_html()


def test_what_is_not_shown_says_how_to_see_it() -> None:
    root, kept = nested(200)
    report = explain(root, host="pickle")
    text = str(report).replace("\n", " ")
    assert "150 more: table(rows=200), or --rows 200 on the command line, shows them" in text
    assert "more" not in report.table(rows=200)
    report = explain(root, host="pickle", keep=120)
    text = report.table(120)
    assert "70 more: table(rows=120), or --rows 120" in text
    assert "80 more are counted, but not kept: keep=200, or --rows 200" in text
    assert "80 more are counted, but not kept: keep=200" in report.to_html()
    assert "limit=200 shows them" in report.to_dot(limit=2)
    assert "limit 200 shows them" in report.to_mermaid(limit=2)
    assert kept


def test_a_report_without_a_terminal_is_80_wide(capsys: pytest.CaptureFixture[str]) -> None:
    root, kept = nested(3)
    print(explain(root, host="pickle"))
    lines = capsys.readouterr().out.split("\n")
    assert 64 < max(map(len, lines)) <= 80
    assert kept


def test_long_reasons_end() -> None:
    finding = findings.Finding("root", "ref", "Thing", "dangle", "x" * 1_000_000)
    report = weakreduce.Report()
    report.take([finding])
    report.kinds["ref", "dangle"] = 1
    for width in (20, 80):
        assert len(report.table(width)) < 4000


def test_the_page_suits_narrow_places() -> None:
    root, kept = nested(3)
    page = explain(root, host="pickle").to_html()
    assert "@container (max-width: 48rem)" in page
    assert "container-type: inline-size" in page
    # In a box that is as wide as its content the container would have no width at all.
    assert "contain-intrinsic-inline-size" in page
    assert "min-width: 15rem" in page
    assert kept


def test_a_page_without_sizes_has_no_column_for_them() -> None:
    root, kept = nested(3)
    assert '<th class="bytes">' in explain(root, host="pickle").to_html()
    page = explain(root, "dangle", host="pickle").to_html()
    assert '<td class="fate"' in page
    assert 'class="bytes"' not in page
    assert kept


def test_rows_on_the_command_line(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from weakreduce.__main__ import main

    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "many_rows.py").write_text(
        "import weakref\n"
        "class Thing: pass\n"
        "kept = [Thing() for _ in range(1200)]\n"
        "root = [weakref.ref(each) for each in kept]\n"
    )
    assert main(["explain", "many_rows:root", "--policy", "dangle"]) == 0
    printed = capsys.readouterr().out
    assert "950 more: table(rows=1000), or --rows 1000" in printed
    assert main(["explain", "many_rows:root", "--policy", "dangle", "--rows", "1200"]) == 0
    printed = capsys.readouterr().out
    assert "more" not in printed
    assert printed.count("dangle  root[") == 1200
