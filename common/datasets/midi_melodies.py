"""The melodies of a folder of MIDI files that the user names."""

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar

import tensorflow_datasets as tfds

from common.datasets.melody import Melodies, MelodyBuilder, make_melodies
from common.datasets.source import Location
from common.error import DataError
from common.melody import NoMelody, Note, decode_events
from common.midi import find_melody

_BAR = 16  # sixteenths
_NEEDED = "needs a folder with MIDI files (*.mid, *.midi): --data-dir FOLDER"


class MidiFiles(Mapping[str, bytes]):
    """The MIDI files in a folder and its subfolders: path in the folder → content.

    Each is read when it is asked for. A file that can't be read counts as empty, and so with those
    that aren't MIDI.
    """

    def __init__(self, folder: Path):
        self._paths = {
            path.relative_to(folder).as_posix(): path
            for path in sorted(folder.rglob("*"))
            if path.suffix.lower() in (".mid", ".midi") and path.is_file()
        }

    def __getitem__(self, name: str) -> bytes:
        try:
            return self._paths[name].read_bytes()
        except OSError:
            return b""

    def __iter__(self) -> Iterator[str]:
        return iter(self._paths)

    def __len__(self) -> int:
        return len(self._paths)

    def sha256(self) -> str:
        """Return a digest of all names and contents, in hexadecimal."""
        digest = hashlib.sha256()
        for name, content in self.items():
            digest.update(hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest())
            digest.update(hashlib.sha256(content).digest())
        return digest.hexdigest()


def find_files(folder: Path | None) -> MidiFiles:
    """List the MIDI files of a folder.

    Raises:
      DataError: no folder is given, there is no such folder, or it has no MIDI files.
    """
    if folder is None:
        raise DataError(f"midi_melodies {_NEEDED}")
    if not folder.is_dir():
        raise DataError(f"the data folder {folder} does not exist or is not a folder")
    if not (files := MidiFiles(folder)):
        raise DataError(f"midi_melodies: no MIDI files (*.mid, *.midi) in {folder}")
    return files


def read_notes(name: str, content: bytes) -> list[Note]:
    """Find the melody of a MIDI file; whole bars (of 4/4) of silence before it are left out.

    Raises:
      NoMelody: the file has no melody; names it.
    """
    notes = decode_events(find_melody(content, name))
    if not notes:
        raise NoMelody("without notes", name, "it is silent")
    silence = notes[0].start // _BAR * _BAR
    return [note._replace(start=note.start - silence) for note in notes]


class MidiMelodies(MelodyBuilder):
    """One melody from each usable file; prepared once for each content of the folder."""

    name = "midi_melodies"
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar[dict[str, str]] = {"1.0.0": "Monophonic tracks, split 90 : 5 : 5."}
    TEXT: ClassVar[Mapping[str, str]] = {
        "description": "Melodies of the user's own MIDI files as events per sixteenth. Melodies"
        " outside MIDI 48..83 are transposed by the fewest semitones; those that share a passage"
        " of 17 notes, in whatever key, are in the same split.",
        "homepage": "https://midi.org/standard-midi-files",
        "citation": "The files are the user's.",
    }

    @classmethod
    def variant(cls, data_dir: Path | None) -> str:
        """Name the prepared copy by the content of the folder."""
        return f"folder-{find_files(data_dir).sha256()[:16]}"

    @classmethod
    def locate(cls, data_dir: Path | None, download_dir: Path) -> Location:
        """Say whether the folder has MIDI files."""
        if data_dir is None:
            return Location("missing", None, _NEEDED)
        try:
            files = find_files(data_dir)
        except DataError as error:
            return Location("missing", None, str(error))
        return Location(
            "preparable", data_dir, f"will be prepared from {len(files):,} files in {data_dir}"
        )

    def gather(
        self, data_dir: Path | None, download_dir: Path, download: bool
    ) -> tuple[MidiFiles, dict[str, str]]:
        """Find the files, with one checksum for the whole folder."""
        files = find_files(data_dir)
        return files, {"MIDI files": files.sha256()}

    def preprocess(self, files: Mapping[str, bytes]) -> Melodies:
        """Find the melody of each file."""
        return make_melodies(files.items(), read_notes)
