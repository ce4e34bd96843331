"""Folk melodies in ABC notation, from the corpus that music21 installs with itself."""

import functools
import hashlib
import importlib.metadata
import importlib.util
import re
from collections.abc import Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any, ClassVar

import tensorflow_datasets as tfds

from common.datasets.melody import Melodies, MelodyBuilder, make_melodies, unreadable
from common.datasets.source import Location
from common.error import DataError
from common.melody import NoMelody, Note, Span, fit_range, quantise

COLLECTIONS = ("essenFolksong", "oneills1850", "airdsAirs", "ryansMammoth")
"""Folders of music21's corpus."""
_INSTALL = 'install it: pip install "highway-tutor[music]"'
# A tune begins at its reference number, at the beginning of a line.
_TUNE = re.compile(r"^(?=[ \t]*X:)", re.MULTILINE)


def corpus_folder() -> Path | None:
    """Return where music21 keeps its corpus, without importing it; None if it isn't installed."""
    spec = importlib.util.find_spec("music21")
    if spec is None or spec.origin is None:
        return None
    return Path(spec.origin).parent / "corpus"


def split_abc(name: str, text: str) -> Iterator[tuple[str, str]]:
    """Cut an ABC file into its tunes; what stands before the first is left out.

    Args:
      name: of the file.
      text: its content.

    Yields:
      Each tune's name (the file's, with the tune's number from 1) and text.
    """
    for number, tune in enumerate(_TUNE.split(text)[1:], 1):
        yield f"{name} {number}", tune


def read_abc(name: str, text: str) -> list[Span]:
    """Read the notes of one tune in ABC notation, times in sixteenths from its beginning.

    Repeats are not played twice, grace notes are left out, tied notes are one.

    Raises:
      NoMelody: it has chords or several voices, or can't be parsed.
    """
    from music21 import abcFormat

    handler = abcFormat.ABCHandler()
    try:
        handler.process(text)
    except Exception as error:  # music21 lets through whatever an odd tune leads it to
        raise unreadable(name, error) from error
    spans: list[Span] = []
    now, tied_to = Fraction(0), None
    for token in handler.tokens:
        if isinstance(token, abcFormat.ABCChord) or _is_voice(token):
            raise NoMelody("polyphonic", name, "it has chords or several voices")
        if not isinstance(token, abcFormat.ABCNote) or token.inGrace:
            continue
        end = now + _sixteenths(token)
        place = None
        if token.pitchName is not None and end > now:
            place, pitch = _pitch(token.pitchName)
            # ABC repeats no accidental on a note tied over a bar line: the pitch stays.
            if tied_to == place:
                spans[-1] = spans[-1]._replace(end=end)
            else:
                spans.append(Span(now, end, pitch))
        tied_to = place if token.tie in ("start", "continue") else None
        now = end
    return spans


def _is_voice(token: Any) -> bool:
    from music21 import abcFormat

    return isinstance(token, abcFormat.ABCMetadata) and token.isVoice()


def _sixteenths(token: Any) -> Fraction:
    """Return the length of a note or rest; a tuplet changes what is written."""
    length = 4 * Fraction(token.quarterLength)
    if token.activeTuplet is not None:
        length *= Fraction(token.activeTuplet.tupletMultiplier())
    return length


@functools.cache
def _pitch(name: str) -> tuple[tuple[str, int], int]:
    """Return the place of a note in the staff (step, octave) and its MIDI pitch."""
    from music21 import pitch

    parsed = pitch.Pitch(name)
    return (parsed.step, parsed.implicitOctave), parsed.midi


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(
            f"cannot read {path}: {error.strerror or error}; {_INSTALL} --force-reinstall"
        ) from error


def _collection(folder: Path) -> dict[str, bytes]:
    """The ABC files of a collection, in the order of their names."""
    paths = sorted(folder.glob("*.abc"))
    if not paths:
        raise DataError(
            f"{folder}: no ABC files; this music21 came without its corpus."
            f" To get it, {_INSTALL} --force-reinstall"
        )
    return {f"{folder.name}/{path.name}": _read(path) for path in paths}


def source_tunes() -> Iterator[tuple[str, str]]:
    """Yield name and text of every tune of the installed corpus, in ABC notation.

    Raises:
      DataError: music21 or its corpus isn't installed.
    """
    folder = corpus_folder()
    if folder is None:
        raise DataError(f"folk_melodies needs music21, which isn't installed; {_INSTALL}")
    for collection in COLLECTIONS:
        for name, content in _collection(folder / collection).items():
            yield from split_abc(name, content.decode("utf-8", errors="replace"))


def read_tune(name: str, text: str) -> list[Note]:
    """Read a tune onto the grid and into the range of the events.

    Raises:
      NoMelody: the tune has no notes, is off the grid or spans more than the range, or as for
        `read_abc`.
    """
    spans = read_abc(name, text)
    if not spans:
        raise NoMelody("without notes", name, "it has rests at most")
    notes = quantise(spans)
    if notes is None:
        raise NoMelody("off the grid", name, "two notes begin in one sixteenth")
    fitted = fit_range(notes)
    if fitted is None:
        raise NoMelody("wider than the range", name, "its notes span over three octaves")
    return fitted


class FolkMelodies(MelodyBuilder):
    """12,762 folk tunes of Europe, China and America in ABC notation."""

    name = "folk_melodies"
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar[dict[str, str]] = {
        "1.0.0": "Four collections of music21's corpus, repeats not played, split 90 : 5 : 5."
    }
    TEXT: ClassVar[Mapping[str, str]] = {
        "description": "Monophonic folk tunes as events per sixteenth: the Essen folk song"
        " collection, O'Neill's Music of Ireland, Aird's Airs, Ryan's Mammoth Collection. Tunes"
        " outside MIDI 48..83 are transposed by the fewest semitones; tunes that"
        " share a passage of 17 notes, in whatever key, are in the same split.",
        "homepage": "https://github.com/cuthbertLab/music21",
        "citation": "@inproceedings{cuthbert2010music21, title={music21: A toolkit for"
        " computer-aided musicology and symbolic music data}, author={Cuthbert, Michael Scott and"
        " Ariza, Christopher}, booktitle={ISMIR}, year={2010}}",
    }

    @classmethod
    def locate(cls, data_dir: Path | None, download_dir: Path) -> Location:
        """Say whether music21 and its corpus are installed."""
        folder = corpus_folder()
        if folder is None:
            return Location("missing", None, f"needs music21 and its corpus; {_INSTALL}")
        return Location("preparable", folder, f"will be prepared from {folder}")

    def gather(
        self, data_dir: Path | None, download_dir: Path, download: bool
    ) -> tuple[dict[str, bytes], dict[str, str]]:
        """Read the ABC files of music21's corpus, with a checksum for each collection.

        The corpus differs between versions of music21, so the version is noted, and none demanded.

        Raises:
          DataError: music21 or its corpus isn't installed.
        """
        folder = corpus_folder()
        if folder is None:
            raise DataError(f"folk_melodies needs music21, which isn't installed; {_INSTALL}")
        files: dict[str, bytes] = {}
        checksums: dict[str, str] = {}
        for collection in COLLECTIONS:
            own = _collection(folder / collection)
            files |= own
            digest = hashlib.sha256()
            for content in own.values():
                digest.update(hashlib.sha256(content).digest())
            source = f"music21 {importlib.metadata.version('music21')} corpus/{collection}"
            checksums[source] = digest.hexdigest()
        return files, checksums

    def preprocess(self, files: Mapping[str, bytes]) -> Melodies:
        """Read every tune of every file."""
        tunes = (
            tune
            for name, content in files.items()
            for tune in split_abc(name, content.decode("utf-8", errors="replace"))
        )
        return make_melodies(tunes, read_tune)
