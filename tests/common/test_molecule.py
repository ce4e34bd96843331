"""Molecules as tokens."""

import pytest

from common.error import DataError
from common.molecule import BEGIN, END, MOSES, PADDING, Vocabulary, split_smiles


def test_smiles_are_cut_at_atoms():
    assert split_smiles("Clc1c[nH]c(Br)c1[C@@H](C)C%12CC%12=O") == [
        *("Cl", "c", "1", "c", "[nH]", "c", "(", "Br", ")", "c", "1", "[C@@H]", "(", "C", ")"),
        *("C", "%12", "C", "C", "%12", "=", "O"),
    ]


def test_numbers_and_back():
    smiles = "O=C(Cl)c1ccc[nH]1"
    numbers = MOSES.encode(smiles)
    assert (numbers[0], numbers[-1]) == (BEGIN, END)
    assert len(numbers) == 2 + len(split_smiles(smiles))
    assert numbers.max() < len(MOSES)
    assert MOSES.decode([*numbers, PADDING, PADDING]) == MOSES.decode(numbers) == smiles
    assert MOSES.decode(numbers[1:]) == smiles  # what a model generates has no BEGIN


def test_what_is_no_molecule_has_odd_names():
    carbon = MOSES.encode("C")[1]
    assert MOSES.decode([carbon, BEGIN, carbon, PADDING]) == "C<begin>C<padding>"


def test_an_unknown_token_names_the_molecule():
    with pytest.raises(DataError, match=r"'C\[Si\]C' has the token '\[Si\]'"):
        MOSES.encode("C[Si]C")
    with pytest.raises(DataError, match="'CC%11' has the token '%11'"):
        MOSES.encode("CC%11")
    own = Vocabulary(("C", "[Si]", "%11"))
    assert own.decode(own.encode("C[Si]%11")) == "C[Si]%11"
