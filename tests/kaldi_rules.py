"""What Kaldi's utils/validate_data_dir.sh asks of a directory, checked anew on bytes, independently of ham."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path


def _lines(path: Path) -> list[bytes]:
    content = path.read_bytes()
    assert content.endswith(b"\n"), f"{path}: the last line has no end"
    return content[:-1].split(b"\n")


def _keys_are_sorted_and_unique(path: Path) -> None:
    keys = [line.split(b" ")[0] for line in _lines(path)]
    assert all(one < other for one, other in pairwise(keys)), f"{path}: sort -u"


def check(folder: Path) -> None:
    """Assert every rule.

    Args:
        folder: a data directory.
    """
    for name in ("wav.scp", "utt2spk", "spk2utt", "utt2dur"):
        _keys_are_sorted_and_unique(folder / name)
    utt2spk = _lines(folder / "utt2spk")
    rows = [line.split() for line in utt2spk]  # at ASCII's white space, as awk does
    assert all(len(row) == 2 for row in rows)
    assert all(utt.startswith(spk) for utt, spk in rows)
    by_speaker = sorted(utt2spk, key=lambda line: (line[line.index(b" ") :], line))  # LC_ALL=C sort -k2
    assert by_speaker == utt2spk, f"{folder}: utt2spk is not sorted by speaker"
    spk2utt: dict[bytes, list[bytes]] = {}
    for utt, spk in rows:
        spk2utt.setdefault(spk, []).append(utt)
    assert [line.split() for line in _lines(folder / "spk2utt")] == [[spk, *utts] for spk, utts in spk2utt.items()]
    for name in ("wav.scp", "utt2dur"):
        assert [line.split()[0] for line in _lines(folder / name)] == [utt for utt, _ in rows]
