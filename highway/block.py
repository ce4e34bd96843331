"""The feed-forward highway block (Srivastava et al. 2015) as a module of Flax NNX."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from highway.layer import Activation, HighwayLayer
from highway.parameters import (
    LECUN_NORMAL,
    ZEROS,
    Initializer,
    cast,
    check_depth,
    check_width,
    draw,
)


class Highway(nnx.Module):
    """Feed-forward highway block (Srivastava et al. 2015): `depth` layers of one width.

    y = H(x) · T(x) + x · (1 − T(x)), H an affine map with an activation, T one with a sigmoid.
    Parameters are those of `highway.layer.HighwayLayer`.

    Examples:
      >>> import jax.numpy as jnp
      >>> from flax import nnx
      >>> from highway import Highway
      >>> Highway(6, depth=20, rngs=nnx.Rngs(0))(jnp.ones((3, 6))).shape
      (3, 6)
    """

    def __init__(
        self,
        features: int,
        *,
        depth: int = 1,
        activation: Activation = nnx.relu,
        transform_bias: float = -2.0,
        kernel_init: Initializer = LECUN_NORMAL,
        bias_init: Initializer = ZEROS,
        dtype: Any = None,
        param_dtype: Any = jnp.float32,
        rngs: nnx.Rngs,
    ):
        """Draw the initial parameters.

        Args:
          features: width of input and output.
          depth: layers.
          activation: of the proposals H.
          transform_bias: initial bias of the transform gates T; below 0 they mostly carry at first.
          kernel_init: called with [features, features] for each gate.
          bias_init: of the proposals' biases, [features].
          dtype: of the computation; by default what inputs and parameters promote to.
          param_dtype: of the parameters.
          rngs: "params".

        Raises:
          ValueError: the depth is below 1.
        """
        check_depth(depth)
        self.features, self.dtype, self.param_dtype = features, dtype, param_dtype
        self.layers = nnx.List(
            HighwayLayer(features, transform_bias=transform_bias, activation=activation, rngs=rngs)
            for _ in range(depth)
        )
        draw(self.layers, kernel_init, kernel_init, bias_init, param_dtype, rngs)

    def __call__(self, inputs: jax.Array) -> jax.Array:
        """Pass inputs [..., features] through all layers; ValueError for another width."""
        check_width(inputs, self.features)
        dtype = self.dtype or jnp.result_type(inputs.dtype, self.param_dtype)
        x = inputs.reshape(-1, self.features).astype(dtype)
        for layer in cast(self.layers, dtype):
            x = layer(x)
        return x.reshape(inputs.shape)
