"""Plain and highway feed-forward networks, trained many at once with settings drawn at random.

Srivastava, Greff, Schmidhuber, "Highway Networks", 2015: deep and narrow networks that classify
handwritten digits.
"""

from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from common.learner import apply_finite, is_finite, zero_totals
from common.recurrent import masked_product
from highway.config import FeedForwardConfig, NetworkSearchConfig
from highway.gates import CLOSED, TRANSFORM
from highway.layer import gates_of
from highway.size import nearest_width


class Network(NamedTuple):
    """Parameters of a feed-forward network; all hidden layers but the first are stacked.

    Gates come in the order proposal, transform; a plain layer has the first only.
    """

    input_kernel: jax.Array
    """[pixels, units], of the first hidden layer."""
    input_bias: jax.Array
    """[units]"""
    kernel: jax.Array
    """[layers − 1, units, gates, units], [layer, from, gate, to]."""
    bias: jax.Array
    """[layers − 1, gates, units]"""
    output_kernel: jax.Array
    """[units, classes]"""
    output_bias: jax.Array
    """[classes]"""


class Setting(NamedTuple):
    """What is drawn at random for each network; scalars."""

    learning_rate: jax.Array
    """Of the first epoch."""
    transform_bias: jax.Array
    """Initial bias of the transform gates."""
    rectified: jax.Array
    """Whether its layers are rectified linear, bool; otherwise they are tanh."""


class Totals(NamedTuple):
    """Sums over the updates since they were last collected; scalars."""

    loss: jax.Array
    """Mean cross entropy of a batch in nats, summed over updates."""
    updates: jax.Array
    """How many updates there were."""


class State(NamedTuple):
    """Everything that an update of one network reads and writes."""

    params: Network
    """Of the network."""
    velocity: Any
    """The optimiser's state."""
    setting: Setting
    """What was drawn for it; never changes."""
    step: jax.Array
    """Updates done, int32."""
    diverged_at: jax.Array
    """The update at which something wasn't finite, int32, or −1. It was not applied."""
    totals: Totals
    """Since they were last collected."""


class Examples(NamedTuple):
    """Images as networks read them."""

    pixels: np.ndarray
    """float32 [images, pixels], within 0..1."""
    labels: np.ndarray
    """int32 [images]."""


def parameter_count(config: FeedForwardConfig, pixels: int, classes: int) -> int:
    """Count the parameters of a network for images of so many pixels."""
    units, gates = config.units, 2 if config.kind == "highway" else 1
    hidden = (config.layers - 1) * gates * (units + 1) * units
    return (pixels + 1) * units + hidden + (units + 1) * classes


def units_nearest(config: FeedForwardConfig, pixels: int, classes: int, count: int) -> int:
    """Find the width with which a network comes nearest to a number of parameters."""
    return nearest_width(
        lambda units: parameter_count(replace(config, units=units), pixels, classes), count
    )


def draw_setting(key: jax.Array, search: NetworkSearchConfig) -> Setting:
    """Draw the settings of one network.

    Args:
      key: of the draw.
      search: the ranges, of learning rates (log-uniform) and transform biases (uniform).

    Returns:
      Scalars; half of all networks are rectified.
    """
    keys = jax.random.split(key, 3)
    low, high = np.log(search.smallest_rate), np.log(search.largest_rate)
    return Setting(
        learning_rate=jnp.exp(jax.random.uniform(keys[0], minval=low, maxval=high)),
        transform_bias=jax.random.uniform(
            keys[1], minval=search.lowest_bias, maxval=search.highest_bias
        ),
        rectified=jax.random.bernoulli(keys[2]),
    )


def initial_network(
    key: jax.Array, config: FeedForwardConfig, setting: Setting, pixels: int, classes: int
) -> Network:
    """Draw initial parameters: normal, so scaled that layers keep their input's variance.

    The standard deviation is √(gain / inputs), the gain being 2 for rectified layers (He et al.
    2015) and 1 otherwise; biases are 0 but for the transform gates'.

    Args:
      key: of the draw.
      config: kind, layers and width.
      setting: which nonlinearity it has, and the transform gates' initial bias.
      pixels: of an image.
      classes: how many there are.
    """
    units, gates = config.units, 2 if config.kind == "highway" else 1
    keys = jax.random.split(key, 3)
    gain = jnp.where(setting.rectified, 2.0, 1.0)
    kernel = jax.random.normal(keys[1], (config.layers - 1, units, gates, units))
    gains = jnp.ones(gates).at[0].set(gain)
    bias = jnp.zeros((config.layers - 1, gates, units))
    if gates == 2:
        bias = bias.at[:, TRANSFORM].set(setting.transform_bias)
    return Network(
        input_kernel=jax.random.normal(keys[0], (pixels, units)) * jnp.sqrt(gain / pixels),
        input_bias=jnp.zeros(units),
        kernel=kernel * jnp.sqrt(gains / units)[:, None],
        bias=bias,
        output_kernel=jax.random.normal(keys[2], (units, classes)) / np.sqrt(units),
        output_bias=jnp.zeros(classes),
    )


def logits(params: Network, rectified: jax.Array, pixels: jax.Array) -> jax.Array:
    """Compute the logits of images' classes (Srivastava et al. 2015, equations 1 to 3).

    A plain layer is y = H(x); a highway layer y = H(x) · T(x) + x · (1 − T(x)).

    Args:
      params: of either kind of network.
      rectified: which nonlinearity H has; see `Setting`.
      pixels: [images, pixels].

    Returns:
      [images, classes].
    """

    def bend(x: jax.Array) -> jax.Array:
        return jnp.where(rectified, jax.nn.relu(x), jnp.tanh(x))

    def layer(x: jax.Array, weights: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        kernel, bias = weights
        preactivation = masked_product(x, kernel, None) + bias
        if len(bias) == 1:
            return bend(preactivation[:, 0]), None
        return gates_of(preactivation, bend).mix(x), None

    first = bend(pixels @ params.input_kernel + params.input_bias)
    last, _ = jax.lax.scan(layer, first, (params.kernel, params.bias))
    return last @ params.output_kernel + params.output_bias


def lesion(params: Network, layer: int) -> Network:
    """Return a highway network whose layer of that number, from 0, carries all that comes.

    The plain layer, which the image enters, isn't counted.
    """
    return params._replace(bias=params.bias.at[layer, TRANSFORM].set(-CLOSED))


class Score(NamedTuple):
    """How a network does on a split."""

    loss: float
    """Mean cross entropy in nats."""
    error: float
    """Share of images put into a wrong class."""


def evaluate(params: Network, rectified: jax.Array, examples: Examples) -> Score:
    """Measure a network on examples.

    Args:
      params: of either kind of network.
      rectified: bool scalar; see `Setting`.
      examples: at least one.
    """
    loss, error = loss_and_error(params, rectified, *examples)
    return Score(float(loss), float(error))


@jax.jit
def loss_and_error(
    params: Network, rectified: jax.Array, pixels: jax.Array, labels: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Compute the numbers of a `Score`, compiled.

    Args:
      params: of either kind of network.
      rectified: bool scalar; see `Setting`.
      pixels: float [images, pixels].
      labels: int [images].

    Returns:
      Mean cross entropy in nats, and the share of images put into a wrong class; scalars.
    """
    scores = logits(params, rectified, pixels)
    losses = optax.softmax_cross_entropy_with_integer_labels(scores, labels)
    return jnp.mean(losses), jnp.mean(jnp.argmax(scores, axis=-1) != labels)


class FeedForwardLearner:
    """The pure functions that train one network; a `common.learner.Member`."""

    round_steps = 1

    def __init__(
        self,
        config: FeedForwardConfig,
        search: NetworkSearchConfig,
        examples: Examples,
        classes: int,
        seed: int,
    ):
        """Set up networks of one kind and depth.

        Args:
          config: of the network.
          search: from which settings are drawn, and how they are trained.
          examples: to train on, at least one batch; `data` gives them to a `Population`.
          classes: how many there are.
          seed: of everything random.

        Raises:
          ValueError: there are fewer examples than a batch has.
        """
        if len(examples.labels) < search.batch_size:
            raise ValueError(f"{len(examples.labels)} images make no batch of {search.batch_size}.")
        self.config, self.search = config, search
        self._key, order = jax.random.split(jax.random.key(seed))
        self.data = (*jax.device_put(examples), order)
        self._pixels, self._classes = examples.pixels.shape[1], classes
        self.steps_per_epoch = len(examples.labels) // search.batch_size
        self._optimizer = optax.sgd(1.0, momentum=search.momentum)
        self._make = jax.jit(self._make_state)

    def initial_state(self, member: int) -> State:
        """Draw settings and parameters of a network; the settings don't depend on its kind."""
        return self._make(member)

    def _make_state(self, member: jax.Array) -> State:
        """Compute `initial_state`, to be compiled."""
        setting_key, key = jax.random.split(jax.random.fold_in(self._key, member))
        setting = draw_setting(setting_key, self.search)
        params = initial_network(key, self.config, setting, self._pixels, self._classes)
        return State(
            params=params,
            velocity=self._optimizer.init(params),
            setting=setting,
            step=jnp.zeros((), jnp.int32),
            diverged_at=jnp.full((), -1, jnp.int32),
            totals=zero_totals(Totals),
        )

    def round(
        self, state: State, step: jax.Array, pixels: jax.Array, labels: jax.Array, order: jax.Array
    ) -> State:
        """Do one update; pure, to be traced under vmap.

        Each epoch goes through the images in an order of its own, the same for all members; those
        that fill no batch are left out.
        """
        epoch, place = step // self.steps_per_epoch, step % self.steps_per_epoch
        shuffled = jax.random.permutation(jax.random.fold_in(order, epoch), len(labels))
        size = self.search.batch_size
        batch = jax.lax.dynamic_slice_in_dim(shuffled, place * size, size)
        loss, gradient = jax.value_and_grad(_mean_loss)(
            state.params, state.setting.rectified, pixels[batch], labels[batch]
        )
        rate = state.setting.learning_rate / self.search.learning_rate_decay**epoch
        changes, velocity = self._optimizer.update(gradient, state.velocity)
        done = state._replace(
            params=jax.tree.map(lambda old, change: old + rate * change, state.params, changes),
            velocity=velocity,
            step=step + 1,
            totals=Totals(state.totals.loss + loss, state.totals.updates + 1),
        )
        return apply_finite(jnp.isfinite(loss) & is_finite(gradient), done, state, step)

    def metrics(self, totals: Totals, step: int) -> dict[str, float]:
        """Compute the mean training loss of totals (NumPy scalars); nothing without updates."""
        if not float(totals.updates):
            return {}
        return {"train/loss": float(totals.loss) / float(totals.updates)}


def _mean_loss(
    params: Network, rectified: jax.Array, pixels: jax.Array, labels: jax.Array
) -> jax.Array:
    losses = optax.softmax_cross_entropy_with_integer_labels(
        logits(params, rectified, pixels), labels
    )
    return jnp.mean(losses)
