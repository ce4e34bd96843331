"""Molecules as sequences of tokens: SMILES cut into atoms, bonds, rings and branches."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from common.error import DataError

PADDING, BEGIN, END = 0, 1, 2
"""What fills a row after its end, what comes before the first token, and what ends a molecule."""
SPECIAL = ("<padding>", "<begin>", "<end>")
"""Their names; tokens of SMILES are numbered after them."""

# An atom in brackets, a ring number of two digits, an element of two letters, or one character.
_TOKEN = re.compile(r"\[[^\[\]]+\]|%\d\d|Br|Cl|.", re.DOTALL)


def split_smiles(smiles: str) -> list[str]:
    """Cut SMILES into tokens, which joined give it again."""
    return _TOKEN.findall(smiles)


@dataclass(frozen=True)
class Vocabulary:
    """The tokens that molecules may be made of."""

    tokens: tuple[str, ...]
    """Of SMILES; token k has the number 3 + k, after those of `SPECIAL`."""

    def __len__(self) -> int:
        """Return how many numbers there are, special ones included."""
        return len(SPECIAL) + len(self.tokens)

    def encode(self, smiles: str) -> np.ndarray:
        """Turn a molecule into BEGIN, the numbers of its tokens, END: int32 [tokens + 2].

        Raises:
          DataError: a token isn't in the vocabulary; names it and the molecule.
        """
        numbers = [BEGIN]
        for token in split_smiles(smiles):
            if token not in self._number_of:
                raise DataError(
                    f"the molecule {smiles!r} has the token {token!r}, which is not among the "
                    f"{len(self.tokens)} known: {' '.join(self.tokens)}"
                )
            numbers.append(self._number_of[token])
        return np.array([*numbers, END], np.int32)

    def decode(self, numbers: Iterable[int] | np.ndarray) -> str:
        """Return the SMILES of the tokens before the first END.

        BEGIN is left out at the start; it and PADDING have their names anywhere else, so that no
        chemist takes what isn't a molecule for one.

        Raises:
          IndexError: a number is beyond the last token's.
        """
        names = (*SPECIAL, *self.tokens)
        text = []
        for place, number in enumerate(numbers):
            if number == END:
                break
            if number != BEGIN or place:
                text.append(names[int(number)])
        return "".join(text)

    @cached_property
    def _number_of(self) -> dict[str, int]:
        return {token: number for number, token in enumerate(self.tokens, len(SPECIAL))}


# fmt: off
MOSES = Vocabulary((
    "#", "(", ")", "-", "1", "2", "3", "4", "5", "6", "=", "Br", "C", "Cl", "F", "N", "O", "S",
    "[H]", "[nH]", "c", "n", "o", "s",
))
# fmt: on
"""All tokens of the 1,936,962 molecules of MOSES, in code point order."""
