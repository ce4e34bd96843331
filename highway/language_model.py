"""The recurrent language model: embedding, stacked cores, softmax, and its four dropout masks."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from common.compute import SCAN, Compute
from common.recurrent import Masks, dropout_mask, uniform
from highway.config import LanguageModelConfig, ModelConfig
from highway.core import make_stack
from highway.softmax import Softmax, cross_entropies, lookup

Params = dict[str, Any]
"""A language model's parameters as nested dictionaries of arrays; see `LanguageModel`."""


class DropoutMasks(NamedTuple):
    """One draw of variational dropout for a batch of sequences; entries 0 or 1 / (1 − rate)."""

    word: jax.Array | None
    """Of the words, [batch, vocabulary]: a word is dropped wherever it occurs in its sequence. The
    paper's x."""
    core: tuple[Masks, ...]
    """Of input and state of each recurrent layer. The paper's i and h."""
    output: jax.Array | None
    """Of the output, [batch, units]. The paper's o."""


MASK_AXES = DropoutMasks(word=0, core=1, output=0)  # type: ignore[arg-type]
"""In the place of each mask, its axis of the batch."""


class LanguageModel(nnx.Module):
    """Predicts each next token of sequences (Zilly et al. 2017, section 5.2).

    Its parameters, in the nested dictionaries of `Params`:

    - `embedding` [vocabulary, width]: a row for each token; width is `config.embedding_size`.
    - `core.cores.k`: of recurrent layer k = 0, 1, ..., as documented at `highway.core.RHN`,
      `highway.core.DeepTransitionRNN` or `common.lstm.LSTM`.
    - `softmax_kernel` [units, vocabulary]: absent where `config.tied`; the embedding's transpose
      then stands in its place.
    - `softmax_bias` [vocabulary]
    """

    def __init__(
        self,
        vocabulary_size: int,
        config: ModelConfig,
        *,
        rngs: nnx.Rngs,
        compute: Compute = SCAN,
    ):
        """Draw the initial parameters.

        All are uniform in ± `config.initial_range`, except the biases of gates that have a setting
        of their own. `compute` says how recurrence and softmax are computed.
        """
        bound = config.initial_range
        width = config.embedding_size(vocabulary_size)
        self.config, self.compute = config, compute
        self.vocabulary_size = vocabulary_size
        self.embedding = nnx.Param(uniform(rngs, (vocabulary_size, width), bound))
        self.core = make_stack(width, config, rngs=rngs, compute=compute)
        if not config.tied:
            self.softmax_kernel = nnx.Param(uniform(rngs, (config.units, vocabulary_size), bound))
        self.softmax_bias = nnx.Param(uniform(rngs, (vocabulary_size,), bound))

    def initial_state(self, batch_size: int) -> Any:
        """Return the zero recurrent state of `batch_size` sequences."""
        return self.core.initial_state(batch_size)

    def sample_masks(self, key: jax.Array, batch_size: int) -> DropoutMasks:
        """Draw the masks for one window of `batch_size` sequences (Gal & Ghahramani 2016).

        Their shapes are documented at `DropoutMasks`.
        """
        config = self.config
        word_key, core_key, output_key = jax.random.split(key, 3)
        return DropoutMasks(
            word=dropout_mask(word_key, config.dropout_x, (batch_size, self.vocabulary_size)),
            core=self.core.sample_masks(
                core_key,
                batch_size,
                config.dropout_i,
                config.dropout_h,
                separate=config.masks == "separate",
            ),
            output=dropout_mask(output_key, config.dropout_o, (batch_size, config.units)),
        )

    def features(
        self, state: Any, tokens: jax.Array, masks: DropoutMasks | None = None
    ) -> tuple[Any, jax.Array]:
        """Run embedding and core over a window.

        Args:
          state: the recurrent state before the window.
          tokens: int [batch, time].
          masks: of dropout, or None to drop nothing.

        Returns:
          The recurrent state after the window, and the core's outputs [time, batch, units].
        """
        return self._features(state, self.embedding[...][tokens.T], tokens, masks)

    def _features(
        self,
        state: Any,
        xs: jax.Array,
        tokens: jax.Array,
        masks: DropoutMasks | None,
        chunk: int = 0,
    ) -> tuple[Any, jax.Array]:
        """`features` from the tokens' rows of the embedding, [time, batch, width]."""
        if masks is not None and masks.word is not None:
            xs = xs * jnp.take_along_axis(masks.word, tokens, axis=1).T[..., None]
        state, ys = self.core.unroll(
            state, xs, masks.core if masks is not None else None, chunk=chunk
        )
        if masks is not None and masks.output is not None:
            ys = ys * masks.output
        return state, ys

    def logits(self, features: jax.Array) -> jax.Array:
        """Map features [..., units] to logits of the next token, [..., vocabulary]."""
        kernel = self.embedding[...].T if self.config.tied else self.softmax_kernel[...]
        return features @ kernel + self.softmax_bias[...]

    def token_losses(
        self,
        state: Any,
        inputs: jax.Array,
        targets: jax.Array,
        masks: DropoutMasks | None = None,
        *,
        recurrence_chunk: int = 0,
        softmax_chunk: int = 0,
    ) -> tuple[Any, jax.Array]:
        """Compute the cross entropy of each prediction in a window.

        Args:
          state: the recurrent state before the window.
          inputs: tokens, int [batch, time].
          targets: the tokens to predict, int [batch, time].
          masks: of dropout, or None to drop nothing.
          recurrence_chunk: time steps whose intermediate results a backward pass keeps at a time,
            see `common.recurrent.Stack.unroll`; 0 for all.
          softmax_chunk: predictions whose logits are in memory at a time; 0 for all. By scan it is
            always all of them.

        Returns:
          The recurrent state after the window, and the cross entropies in nats, [batch, time].
        """
        if self.compute.kernel == "scan":
            xs = self.embedding[...][inputs.T]
            state, features = self._features(state, xs, inputs, masks, recurrence_chunk)
            losses = optax.softmax_cross_entropy_with_integer_labels(
                self.logits(features), targets.T
            )
            return state, losses.T
        xs, embedding = lookup(self.embedding[...], inputs.T)
        state, features = self._features(state, xs, inputs, masks, recurrence_chunk)
        losses = cross_entropies(
            Softmax(self.config.tied, self.compute.precision, softmax_chunk),
            features,
            embedding if self.config.tied else self.softmax_kernel[...],
            self.softmax_bias[...],
            targets.T,
        )
        return state, losses.T


Graph = nnx.GraphDef[LanguageModel]
"""The structure into which `nnx.merge` puts a model's parameters."""


def make_graph(config: LanguageModelConfig, vocabulary_size: int, compute: Compute = SCAN) -> Graph:
    """Return the structure of a model, without allocating parameters."""
    model = nnx.eval_shape(
        lambda: LanguageModel(
            vocabulary_size, config.model, rngs=nnx.Rngs(params=0), compute=compute
        )
    )
    return nnx.graphdef(model)
