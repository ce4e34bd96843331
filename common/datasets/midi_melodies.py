"""The melodies of a folder of MIDI files that the user names."""

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import tensorflow_datasets as tfds

from common.datasets.melody import Melodies, MelodyBuilder, make_melodies
from common.datasets.midi_folder import MidiFiles, find_files, printable
from common.datasets.source import Location
from common.error import DataError
from common.melody import BAR, NoMelody, Note, decode_events
from common.midi import find_melody

_NEEDED = "needs a folder with MIDI files (*.mid, *.midi): --data-dir FOLDER"


def read_notes(name: str, content: bytes) -> list[Note]:
    """Find the melody of a MIDI file; whole bars (of 4/4) of silence before it are left out.

    Raises:
      NoMelody: the file has no melody; names it.
    """
    notes = decode_events(find_melody(content, name))
    if not notes:
        raise NoMelody("without notes", name, "it is silent")
    silence = notes[0].start // BAR * BAR
    return [note._replace(start=note.start - silence) for note in notes]


class MidiMelodies(MelodyBuilder):
    """One melody from each usable file; prepared once for each content of the folder."""

    name = "midi_melodies"
    VERSION = tfds.core.Version("1.1.0")
    RELEASE_NOTES: ClassVar[dict[str, str]] = {
        "1.1.0": "Tracks are whole: changes of instrument or channel no longer cut them.",
        "1.0.0": "Monophonic tracks, split 90 : 5 : 5.",
    }
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
        return f"folder-{_files(data_dir).sha256()[:16]}"

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
        files = _files(data_dir)
        return files, {"MIDI files": files.sha256()}

    def preprocess(self, files: Mapping[str, bytes]) -> Melodies:
        """Find the melody of each file."""
        # Each is read in its turn, so that one that can't be is left out like one without melody.
        return make_melodies(
            ((printable(name), name) for name in files),
            lambda shown, name: read_notes(shown, files[name]),
        )


def _files(data_dir: Path | None) -> MidiFiles:
    if data_dir is None:
        raise DataError(f"midi_melodies {_NEEDED}")
    return find_files(data_dir)
