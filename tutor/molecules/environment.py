"""Molecules that grow token by token; the reward comes at the end, from outside JAX."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from common.molecule import BEGIN, PADDING, SPECIAL, Vocabulary
from tutor.actor import Environment

Judge = Callable[[Sequence[str]], np.ndarray]
"""SMILES → rewards, float32."""


class MoleculeState(NamedTuple):
    """A molecule that is being made."""

    tokens: jax.Array
    """Its numbers so far, then PADDING; int32 [length]."""
    written: jax.Array
    """How many there are, int32."""
    done: jax.Array
    """Whether it has ended, bool."""


def make_environment(vocabulary: Vocabulary, length: int, judge: Judge | None) -> Environment:
    """Make the environment of molecules.

    A molecule begins with BEGIN as its observation. It ends with END, with a token that no
    molecule has (PADDING or BEGIN), which makes it none, or after `length` tokens. Its reward comes
    with its last token; later steps change nothing and have none.

    Args:
      vocabulary: what the numbers mean.
      length: the most tokens of a molecule, END included.
      judge: gives rewards; None for rewards of 0. It is called once a step for all molecules that
        end there.
    """

    def score(tokens: Any, written: Any, ended: Any) -> np.ndarray:
        """On the host: rewards float32 [...] of molecules int [..., length]; 0 for the others."""
        assert judge is not None
        tokens, written, ended = map(np.asarray, (tokens, written, ended))
        rewards = np.zeros(ended.shape, np.float32)
        if ended.any():
            rows = zip(tokens[ended], written[ended], strict=True)
            molecules = [vocabulary.decode(row[:length]) for row, length in rows]
            rewards[ended] = judge(molecules)
        return rewards

    def reset(key: jax.Array, params: Any) -> tuple[jax.Array, MoleculeState]:
        empty = jnp.full(length, PADDING, jnp.int32)
        state = MoleculeState(empty, jnp.zeros((), jnp.int32), jnp.zeros((), bool))
        return jnp.full((), BEGIN, jnp.int32), state

    def step(key: jax.Array, state: MoleculeState, action: jax.Array, params: Any) -> Any:
        tokens = jnp.where(
            state.done, state.tokens, state.tokens.at[state.written].set(action, mode="drop")
        )
        written = jnp.where(state.done, state.written, state.written + 1)
        done = state.done | (action < len(SPECIAL)) | (written >= length)
        ends = done & ~state.done
        if judge is None:
            reward = jnp.zeros(())
        else:
            shape = jax.ShapeDtypeStruct((), jnp.float32)
            reward = jax.pure_callback(
                score, shape, tokens, written, ends, vmap_method="broadcast_all"
            )
        return action, MoleculeState(tokens, written, done), reward, done, {}

    return Environment(reset, step, None)
