"""Draws texts from a finished run's language model."""

import argparse
import re
from pathlib import Path

import jax
import numpy as np

from common.error import ConfigError, DataError
from common.progress import Progress
from common.record import FILE_NAME
from experiments import text_model, trained
from experiments.compose import require_count, require_no_run
from highway import sampling

TOKENS = 300
"""Length of a text where neither a length is asked for nor the run's settings have one."""
LONGEST_PRIMER = 100_000  # tokens
_DRAWS = 2**31
"""Folded into a seed's key: neither training nor dropout draws from what comes of it."""
_BEGINNINGS = ("<eos>", "\n", "\\n", " ")
"""Symbols after which a text may begin; the first that a vocabulary has is taken."""
_OURS = re.compile(r"text\d+\.txt")


def is_text(run: Path) -> bool:
    """Return whether a finished run has checkpoints or parameters and no model of sequences."""
    has_model = any((run / name).is_dir() for name in ("checkpoints", text_model.FOLDER))
    sequences = (trained.find(run) / trained.FOLDER).is_dir()
    return has_model and not sequences and (run / FILE_NAME).exists()


def print_texts(options: argparse.Namespace) -> None:
    """Print and write what `compose` asks of a language model's run.

    Raises:
      DataError, ConfigError: as `compose_text` does; or an option is for music.
    """
    run: Path = options.trained
    folder: Path = options.out or run / "compositions"
    asked = {"--bars": options.bars, "--key": options.key, "--wav": options.wav or None}
    if refused := [name for name, value in asked.items() if value is not None]:
        raise ConfigError(f"{run}: a language model; {', '.join(refused)} can't be asked of it.")
    if options.data_dir is not None and not options.data_dir.is_dir():
        raise DataError(f"--data-dir {options.data_dir}: there is no such folder.")
    texts = compose_text(
        run,
        folder,
        data_dir=options.data_dir,
        count=options.count,
        tokens=options.tokens,
        seed=options.seed,
        primer=options.primer,
        temperature=options.temperature,
    )
    for text in texts:
        print(f"{text.rstrip()}\n")
    print(f"These: {folder}")


def compose_text(
    run: Path,
    folder: Path,
    *,
    data_dir: Path | None = None,
    count: int = 8,
    tokens: int | None = None,
    seed: int = 0,
    primer: Path | None = None,
    temperature: float = 1.0,
) -> list[str]:
    """Draw texts, and write them as `text1.txt`, `text2.txt`, ..., in place of earlier ones.

    Text k of a seed is the same however many are asked for.

    Args:
      run: directory of a finished run of one language model.
      folder: where to write; made if it isn't there.
      data_dir: where its text is, if it was brought by hand; for runs without a vocabulary.
      count: how many, 1 to `experiments.compose.MOST`.
      tokens: words, characters or bytes of each; by default as many as the run's own sample.
      seed: 0 to 2³² − 1.
      primer: a text file that all go on from, and begin with. Without it they begin after an end
        of line, or a space.
      temperature: the logits are divided by it.

    Raises:
      DataError: the run has no model, or the primer can't be read, is empty, too long, or has
        words or characters that the model doesn't know.
      ConfigError: as `text_model.load_run` does; or a number is out of range, the folder is a
        run's own, or the primer would be overwritten.
    """
    require_count(count)
    require_no_run(folder)
    if primer is not None and primer.resolve().parent == folder.resolve():
        raise ConfigError(f"{primer}: the texts would lie beside it. Choose another --out.")
    model = text_model.load_run(run, data_dir)
    symbols = model.tokenizer.vocabulary
    if primer is None:
        first = next((one for one in _BEGINNINGS if one in symbols), symbols[0])
        heard, prompt = "", np.array([symbols.index(first)], np.int32)
    else:
        prompt = _read(primer, model)
        heard = model.tokenizer.decode(prompt)
        if model.tokenizer.level == "word" and not heard.endswith("\n"):
            heard += " "
    length = tokens or model.config.evaluation.sample_tokens or TOKENS
    key = jax.random.fold_in(jax.random.key(seed), _DRAWS)
    texts = []
    for number in range(count):
        one = jax.random.fold_in(key, number)
        drawn = sampling.sample(model.graph, model.params, one, prompt, length, temperature)
        texts.append(heard + model.tokenizer.decode(np.asarray(drawn)))
    _write(texts, folder)
    return texts


def _read(primer: Path, model: text_model.TrainedModel) -> np.ndarray:
    """The ids of a primer, int32 [n], n ≥ 1."""
    try:
        content = primer.read_bytes()
        text = content if model.tokenizer.level == "byte" else content.decode("utf-8")
    except OSError as error:
        raise DataError(f"{primer}: can't be read: {error.strerror or error}.") from None
    except UnicodeDecodeError:
        raise DataError(f"{primer}: a primer is text in UTF-8.") from None
    try:
        found = model.tokenizer.encode(text)
    except DataError as error:
        raise DataError(f"{primer}: {error}.") from None
    if not 1 <= len(found) <= LONGEST_PRIMER:
        raise DataError(
            f"{primer}: a primer has 1 to {LONGEST_PRIMER:,} {model.tokenizer.level}s, not "
            f"{len(found):,}."
        )
    return found


def _write(texts: list[str], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    before = {path.name for path in folder.iterdir() if _OURS.fullmatch(path.name)}
    names = [f"text{number}.txt" for number in range(1, len(texts) + 1)]
    for name, text in zip(names, texts, strict=True):
        (folder / name).write_text(text.rstrip("\n") + "\n", encoding="utf-8")
    gone = before - set(names)
    for name in gone:
        (folder / name).unlink()
    if gone:
        files = "file" if len(gone) == 1 else "files"
        Progress("compose").note(f"{folder}: {len(gone)} {files} of earlier texts deleted")
