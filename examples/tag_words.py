"""Find where words end in text without spaces, with recurrent highway cells in both directions.

    python examples/tag_words.py

It prints its score: at least 97 % of the characters of held-out Shakespeare are tagged right, after
a minute on two cores. Beside it, the score of saying "no word ends" everywhere.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from common.datasets import load
from highway import FastRNN, RHNCell


class Tagger(nnx.Module):
    """Characters, read in both directions, and whether a word ends after each."""

    def __init__(self, characters: int, rngs: nnx.Rngs):
        """Build it for an alphabet of so many characters."""
        self.embedding = nnx.Embed(characters, 32, rngs=rngs)
        cells = [RHNCell(32, 128, depth=2, state_dropout=0.1, rngs=rngs) for _ in range(2)]
        self.rnn = nnx.Bidirectional(*map(FastRNN, cells), rngs=rngs)
        self.out = nnx.Linear(256, 1, rngs=rngs)

    def __call__(self, text: jax.Array) -> jax.Array:
        """Logits [batch, time] of characters [batch, time]."""
        return self.out(self.rnn(self.embedding(text)))[..., 0]


@nnx.jit
def update(model: Tagger, optimizer: nnx.Optimizer, text: jax.Array, ends: jax.Array):
    """Take one step of gradient descent."""

    def loss(model: Tagger) -> jax.Array:
        return optax.sigmoid_binary_cross_entropy(model(text), ends).mean()

    optimizer.update(model, nnx.grad(loss)(model))


def windows(split: np.ndarray, space: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Take the spaces out of a text; return windows of 50 characters and where words end."""
    spaces = np.isin(split, space)
    ends = np.append(spaces[1:], True)[~spaces]
    length = len(ends) // 50 * 50
    return split[~spaces][:length].reshape(-1, 50), ends[:length].reshape(-1, 50)


def main(updates: int = 1000) -> tuple[float, float]:
    """Train; return which shares of the test characters no word's end and the model get right."""
    corpus = load("tiny_shakespeare")
    space = np.flatnonzero([word in (" ", "\n") for word in corpus.vocabulary])
    (text, ends), (test, test_ends) = (windows(s, space) for s in (corpus.train, corpus.test))
    model = Tagger(len(corpus.vocabulary), nnx.Rngs(0, dropout=1))
    optimizer = nnx.Optimizer(model, optax.adam(3e-3), wrt=nnx.Param)
    random = np.random.default_rng(0)
    for _ in range(updates):
        batch = random.integers(0, len(text), 64)
        update(model, optimizer, text[batch], ends[batch])
    model.eval()
    found = model(test) > 0
    return 1 - float(test_ends.mean()), float(jnp.mean(found == test_ends))


if __name__ == "__main__":
    none, found = main()
    print(f"test characters tagged right: {none:.1%} by no word's end, {found:.1%} by the network")
