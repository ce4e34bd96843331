"""The list of datasets, in plain data that costs nothing to import."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class DatasetInfo:
    """What the command line shows of a dataset without loading it."""

    name: str
    title: str
    """What it is, in a line."""
    source_files: tuple[str, ...]
    """Names accepted in --data-dir."""
    how_to_get: str
    """Where the source comes from, in one or two plain lines."""
    builder: str
    """`module:class` of its TFDS builder."""
    any_folder: bool = False
    """Whether it is made from whichever folder the user names."""


@dataclass(frozen=True)
class DatasetStatus:
    """Whether a dataset can be loaded on this machine, and what to do if it can't."""

    name: str
    state: Literal["ready", "preparable", "ships", "missing", "damaged"]
    """ready: prepared in the cache.
    preparable: the source files are in the data folder or already downloaded.
    ships: the source comes with the package, the first load prepares it.
    missing: the source must be downloaded or brought by hand.
    damaged: a file in the cache or the data folder is not what it should be."""
    path: Path | None
    """The prepared data, or the folder the sources were found in."""
    advice: str
    """What was found and what to do, in a line."""


@dataclass(frozen=True)
class Verification:
    """What a check of a prepared dataset found."""

    name: str
    path: Path
    """Where the prepared data is, or would be."""
    prepared: bool
    """Whether there is any."""
    checked: tuple[str, ...]
    """Names of the files that were checked."""
    damaged: tuple[str, ...]
    """A line for each file that is missing or changed."""

    @property
    def ok(self) -> bool:
        """Whether the dataset is prepared and every file is as it was built."""
        return self.prepared and not self.damaged


_OWN_TEXT = """\
Name a folder with one .txt file, which is divided 90 : 5 : 5, or with
train.txt, valid.txt and test.txt: --data-dir FOLDER."""

_ENTRIES = (
    DatasetInfo(
        name="penn_treebank",
        title="Penn Treebank, words, Mikolov's preprocessing",
        source_files=("ptb.train.txt", "ptb.valid.txt", "ptb.test.txt", "ptb.zip"),
        how_to_get="Downloaded from public research copies, or bring ptb.zip or the three ptb.*.txt"
        " files yourself.\nThe text is licensed by the LDC (catalogue number LDC99T42).",
        builder="common.datasets.penn_treebank:PennTreebank",
    ),
    DatasetInfo(
        name="enwik8",
        title="enwik8, the first 10^8 bytes of a Wikipedia dump, bytes",
        source_files=("enwik8", "enwik8.zip"),
        how_to_get="Downloaded from mattmahoney.net/dc/enwik8.zip or a mirror (36 MB), or bring"
        " enwik8 or enwik8.zip yourself.",
        builder="common.datasets.enwik8:Enwik8",
    ),
    DatasetInfo(
        name="text8",
        title="text8, 10^8 characters of cleaned Wikipedia text, characters",
        source_files=("text8", "text8.zip"),
        how_to_get="Downloaded from mattmahoney.net/dc/text8.zip or a mirror (31 MB), or bring"
        " text8 or text8.zip yourself.",
        builder="common.datasets.text8:Text8",
    ),
    DatasetInfo(
        name="jsb_chorales",
        title="JSB Chorales, 382 chorales by J. S. Bach, quarter-note piano rolls",
        source_files=(),
        how_to_get="Comes with the package.",
        builder="common.datasets.jsb_chorales:JsbChorales",
    ),
    DatasetInfo(
        name="tiny_shakespeare",
        title="Tiny Shakespeare, 1.1 MB of plays, characters",
        source_files=(),
        how_to_get="Comes with the package.",
        builder="common.datasets.tiny_shakespeare:TinyShakespeare",
    ),
    DatasetInfo(
        name="folk_melodies",
        title="Folk melodies, 11,832 tunes from music21's corpus, one of 38 events a sixteenth",
        source_files=(),
        how_to_get='Comes with music21: pip install "highway-tutor[music]".',
        builder="common.datasets.folk_melodies:FolkMelodies",
    ),
    DatasetInfo(
        name="chorale_melodies",
        title="Chorale melodies, the soprano of the JSB Chorales, one of 38 events a sixteenth",
        source_files=(),
        how_to_get="Comes with the package.",
        builder="common.datasets.chorale_melodies:ChoraleMelodies",
    ),
    DatasetInfo(
        name="moses_sample",
        title="MOSES, a sample of 50,000 molecules as SMILES",
        source_files=(),
        how_to_get="Comes with the package.",
        builder="common.datasets.moses:MosesSample",
    ),
    DatasetInfo(
        name="moses",
        title="MOSES, 1,936,962 molecules as SMILES",
        source_files=("train.csv.gz", "test.csv.gz", "test_scaffolds.csv.gz"),
        how_to_get="Found in the package molsets where that is installed, else downloaded from"
        " github.com/molecularsets/moses\n(12.9 MB), or bring the three files of its folder"
        " moses/dataset/data yourself.",
        builder="common.datasets.moses:Moses",
    ),
    DatasetInfo(
        name="mnist",
        title="MNIST, 70,000 handwritten digits of 28 × 28 pixels",
        source_files=(
            "train-images-idx3-ubyte.gz",
            "train-labels-idx1-ubyte.gz",
            "t10k-images-idx3-ubyte.gz",
            "t10k-labels-idx1-ubyte.gz",
        ),
        how_to_get="Downloaded from public copies (11.6 MB), or bring the four *-ubyte.gz files"
        " yourself.",
        builder="common.datasets.mnist:Mnist",
    ),
    DatasetInfo(
        name="digits",
        title="Digits, 1,797 handwritten digits of 8 × 8 pixels",
        source_files=(),
        how_to_get="Comes with the package.",
        builder="common.datasets.digits:Digits",
    ),
    DatasetInfo(
        name="midi_melodies",
        title="The melodies of your own MIDI files, one of 38 events a sixteenth",
        source_files=("*.mid", "*.midi"),
        how_to_get="Name a folder with MIDI files: --data-dir FOLDER (subfolders are searched).",
        builder="common.datasets.midi_melodies:MidiMelodies",
        any_folder=True,
    ),
    DatasetInfo(
        name="text_files",
        title="A text of your own, characters",
        source_files=("*.txt",),
        how_to_get=_OWN_TEXT,
        builder="common.datasets.text_files:TextFiles",
        any_folder=True,
    ),
    DatasetInfo(
        name="text_files_words",
        title="A text of your own, words",
        source_files=("*.txt",),
        how_to_get=_OWN_TEXT,
        builder="common.datasets.text_files:TextFilesWords",
        any_folder=True,
    ),
)

DATASETS: dict[str, DatasetInfo] = {entry.name: entry for entry in _ENTRIES}
"""All datasets by name."""
