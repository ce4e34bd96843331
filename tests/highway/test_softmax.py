"""The output layer with its backward pass by hand: equal to differentiating the plain one."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from highway_case import experiment, precision, random_params, tokens_of

from common.compute import Compute
from common.product import contract, product, projected
from common.recurrent import masked_product
from highway.language_model import make_graph
from highway.learner import update
from highway.softmax import Softmax, cross_entropies, lookup

ROWS, UNITS, VOCABULARY = (5, 4), 6, 9


def arguments(tied, seed=0, scale=1.0):
    """Features, kernel and bias, and targets of which one occurs several times."""
    keys = jax.random.split(jax.random.key(seed), 4)
    features = scale * jax.random.normal(keys[0], (*ROWS, UNITS))
    kernel = jax.random.normal(keys[1], (VOCABULARY, UNITS) if tied else (UNITS, VOCABULARY))
    targets = jax.random.randint(keys[2], ROWS, 0, VOCABULARY).at[0].set(3)
    return features, kernel, jax.random.normal(keys[3], (VOCABULARY,)), targets


def weights(seed=9):
    """What the losses count, each differently: some nothing, some less than that."""
    return jax.random.normal(jax.random.key(seed), ROWS).at[1, 1].set(0.0)


def plain(softmax, features, kernel, bias, targets):
    logits = features @ (kernel.T if softmax.tied else kernel) + bias
    return optax.softmax_cross_entropy_with_integer_labels(logits, targets)


def gradients(losses, softmax, features, kernel, bias, targets):
    def weighed(*differentiable):
        each = losses(softmax, *differentiable, targets)
        return jnp.sum(each * weights()), each

    return jax.value_and_grad(weighed, (0, 1, 2), has_aux=True)(features, kernel, bias)


def take_step(graph, config, params, state, inputs, targets, masks):
    """What the learner repeats, by plain descent at a rate of 1."""
    descent = optax.sgd(1.0)
    started = descent.init(params)
    step = partial(update, graph, descent, config)
    return jax.jit(step)(params, started, state, inputs, targets, masks)


def assert_all_near(actual, expected, tolerance):
    for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        assert a.shape == b.shape
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance)


@pytest.mark.parametrize(
    ("tied", "chunk"), [*((True, chunk) for chunk in (0, 1, 7, 10, 20, 50)), (False, 0), (False, 7)]
)
def test_losses_and_gradients_equal_those_of_autodiff(tied, chunk):
    with precision("float64"):
        given = arguments(tied)
        actual = gradients(cross_entropies, Softmax(tied, chunk=chunk), *given)
        assert_all_near(actual, gradients(plain, Softmax(tied), *given), 1e-10)


@pytest.mark.parametrize("tied", [True, False])
def test_logits_far_apart_stay_finite(tied):
    with precision("float64"):
        given = arguments(tied, scale=1000.0)
        actual = gradients(cross_entropies, Softmax(tied), *given)
        assert_all_near(actual, gradients(plain, Softmax(tied), *given), 1e-9)


@pytest.mark.parametrize(
    ("tied", "kind", "chunk"),
    [  # each pair of values once: no line of the code looks at three
        (True, "float32", 0),
        (True, "bfloat16", 7),
        (False, "float32", 7),
        (False, "bfloat16", 0),
    ],
)
def test_vmap_equals_each_alone(tied, kind, chunk):
    def run(*given):
        return gradients(cross_entropies, Softmax(tied, kind, chunk), *given)

    members = [arguments(tied, seed) for seed in (0, 1)]
    together = jax.jit(jax.vmap(run))(*(jnp.stack(leaves) for leaves in zip(*members, strict=True)))
    each = [jax.jit(run)(*member) for member in members]
    apart = jax.tree.map(lambda *leaves: jnp.stack(leaves), *each)
    assert_all_near(together, apart, 1e-5)


@pytest.mark.parametrize("chunk", [0, 7])
@pytest.mark.parametrize("tied", [True, False])
def test_bfloat16_is_near_and_its_ones_are_not_rounded(tied, chunk):
    """Where the target is all but certain, the probability's and the one's roundings would show."""
    given = arguments(tied)
    actual = gradients(cross_entropies, Softmax(tied, "bfloat16", chunk), *given)
    expected = gradients(plain, Softmax(tied), *given)
    for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        assert a.dtype == jnp.float32
        difference = np.linalg.norm(a - b) / np.linalg.norm(b)
        assert 1e-6 < difference < 1e-2  # it is bfloat16, and only its inputs are


@pytest.mark.parametrize("tied", [True, False])
def test_only_operands_of_products_are_rounded(tied):
    """Numbers that bfloat16 holds give what float32 gives, but for the probabilities' rounding."""
    features, kernel, bias, targets = arguments(tied)
    features, kernel = (x.astype(jnp.bfloat16).astype(float) for x in (features, kernel))
    given = features, kernel, bias, targets
    losses = cross_entropies(Softmax(tied, "bfloat16"), *given)
    assert_all_near(losses, plain(Softmax(tied), *given), 1e-5)


@pytest.mark.parametrize("kind", ["float32", "bfloat16"])
@pytest.mark.parametrize("platform", ["cpu", "cuda", "tpu"])
@pytest.mark.parametrize("tied", [True, False])
def test_it_compiles_for_every_platform(tied, platform, kind):
    def run(*given):
        return gradients(cross_entropies, Softmax(tied, kind, 7), *given)

    jax.jit(run).trace(*arguments(tied)).lower(lowering_platforms=(platform,))


@pytest.mark.parametrize("kind", ["float32", "bfloat16"])
@pytest.mark.parametrize("tied", [True, False])
def test_all_products_read_the_precision_that_is_asked_for(tied, kind):
    def run(*given):
        return gradients(cross_entropies, Softmax(tied, kind), *given)

    text = jax.jit(run).lower(*arguments(tied)).as_text()
    products = [line for line in text.splitlines() if "stablehlo.dot_general" in line]
    assert len(products) == 3
    for line in products:
        operands, result = line.split(" : ")[-1].split("->")
        assert operands.count("bf16") == (2 if kind == "bfloat16" else 0)
        assert "bf16" not in result


@pytest.mark.parametrize("kind", ["float32", "bfloat16"])
@pytest.mark.parametrize("tied", [True, False])
def test_one_array_of_logits_is_kept_and_none_with_chunks(tied, kind):
    features, kernel, bias, targets = arguments(tied)
    for chunk in (0, 7):

        def losses(features, kernel, bias, chunk=chunk):
            return cross_entropies(Softmax(tied, kind, chunk), features, kernel, bias, targets)

        kept = jax.tree.leaves(jax.vjp(losses, features, kernel, bias)[1])
        kinds = [x.dtype for x in kept if x.size >= targets.size * VOCABULARY]
        assert kinds == ([] if chunk else [jnp.dtype(kind)])


@pytest.mark.usefixtures("full_optimisation")
@pytest.mark.parametrize(("chunk", "most"), [(0, 2.1), (32, 0.4)])
@pytest.mark.parametrize("kind", ["float32", "bfloat16"])
def test_memory_beside_what_is_kept(kind, chunk, most):
    """In arrays of logits."""
    rows, units, vocabulary = 256, 8, 4096
    features, targets = jnp.ones((rows, units)), jnp.zeros(rows, int)
    kernel, bias = jnp.ones((vocabulary, units)), jnp.zeros(vocabulary)

    def total(*differentiable):
        return jnp.sum(cross_entropies(Softmax(True, kind, chunk), *differentiable, targets))

    run = jax.jit(jax.value_and_grad(total, (0, 1, 2)))
    analysis = run.lower(features, kernel, bias).compile().memory_analysis()
    assert analysis.temp_size_in_bytes < most * 4 * rows * vocabulary


def test_a_lookup_adds_its_gradients_to_those_of_other_uses():
    with precision("float64"):
        table = jax.random.normal(jax.random.key(0), (5, 3))
        tokens = jnp.array([[1, 1], [4, 0]])
        weigh = jax.random.normal(jax.random.key(1), (2, 2, 3))

        def through(rows, table):
            return jnp.sum(rows * weigh) + jnp.sum(jnp.sin(table))

        actual = jax.grad(lambda table: through(*lookup(table, tokens)))(table)
        expected = jax.grad(lambda table: through(table[tokens], table))(table)
        assert_all_near(actual, expected, 1e-12)
        alone = jax.grad(lambda table: jnp.sum(lookup(table, tokens)[0] * weigh))(table)
        assert_all_near(alone, jnp.zeros((5, 3)).at[tokens].add(weigh), 1e-12)


@pytest.mark.parametrize("axes", [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_products_contract_the_axes_they_are_told(axes):
    a, b = jax.random.normal(jax.random.key(0), (2, 24, 24))
    a, b = (x.astype(jnp.bfloat16).astype(float) for x in (a, b))
    expected = np.einsum("ik,kj->ij", a.T if axes[0] == 0 else a, b.T if axes[1] == 1 else b)
    for kind in ("float32", "bfloat16"):
        actual = jax.jit(contract, static_argnums=(2, 3))(a, b, axes, kind)
        assert actual.dtype == jnp.float32
        np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("masks", [None, 1, 2])
def test_the_projection_and_its_gradients_equal_the_plain_ones(masks):
    with precision("float64"):
        keys = jax.random.split(jax.random.key(0), 4)
        x = jax.random.normal(keys[0], (3, 4, 5))
        kernel = jax.random.normal(keys[1], (5, 2, 6))
        mask = None if masks is None else jax.random.normal(keys[2], (masks, 4, 5))
        weigh = jax.random.normal(keys[3], (3, 4, 2, 6))

        def weighed(project, x, kernel):
            return jnp.sum(project(x, kernel, mask) * weigh)

        def by_hand(*given):
            return projected(*given, "float32")

        actual = jax.value_and_grad(weighed, (1, 2))(by_hand, x, kernel)
        assert_all_near(
            actual, jax.value_and_grad(weighed, (1, 2))(masked_product, x, kernel), 1e-10
        )


def test_the_projection_in_bfloat16_reads_rounded_numbers_and_sums_in_float32():
    x, kernel = jax.random.normal(jax.random.key(0), (2, 8, 8))
    rounded = [array.astype(jnp.bfloat16).astype(float) for array in (x, kernel)]
    ones = jnp.ones((8, 8))

    def total(x, kernel):
        return product("bfloat16", x, kernel)

    value, back = jax.vjp(total, x, kernel)
    plain_value, plain_back = jax.vjp(jnp.matmul, *rounded)
    assert_all_near((value, back(ones)), (plain_value, plain_back(ones)), 1e-5)


@pytest.mark.parametrize("tied", [True, False])
def test_a_models_gradient_is_the_plain_models(tied):
    """The tied embedding gets its three shares: of words read, of logits, of targets."""
    with precision("float64"):
        config, vocabulary = experiment(units=6, tied=tied, train={"weight_decay": 1e-2})
        params = random_params(config, vocabulary)
        graph = make_graph(config, vocabulary, Compute("jax"))
        model = nnx.merge(graph, params)
        batch, steps = config.train.batch_size, config.train.steps
        tokens = tokens_of(vocabulary, batch * (steps + 1)).reshape(batch, steps + 1)
        inputs, targets = jnp.asarray(tokens[:, :-1]), jnp.asarray(tokens[:, 1:])
        state, masks = model.initial_state(batch), model.sample_masks(jax.random.key(2), batch)

        def plain_cost(params):
            model = nnx.merge(graph, params)
            _, features = model.features(state, inputs, masks)
            losses = optax.softmax_cross_entropy_with_integer_labels(
                model.logits(features), targets.T
            )
            squares = sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(params))
            return jnp.sum(losses) / batch + 0.5 * config.train.weight_decay * squares

        # A step of descent at a rate of 1 takes off the gradient.
        made = take_step(graph, config.train, params, state, inputs, targets, masks)
        gradient = jax.tree.map(jnp.subtract, params, made.params)
        assert_all_near(gradient, jax.jit(jax.grad(plain_cost))(params), 1e-10)


@pytest.mark.parametrize("chunk", [0, 4])
def test_the_setting_says_how_many_logits_there_are(chunk):
    config, vocabulary = experiment(units=6, train={"softmax_chunk": chunk})
    params = random_params(config, vocabulary)
    graph = make_graph(config, vocabulary, Compute("jax"))
    state = nnx.merge(graph, params).initial_state(3)
    tokens = jnp.zeros((3, 5), jnp.int32)

    step = partial(take_step, graph, config.train)
    text = str(jax.make_jaxpr(step)(params, state, tokens, tokens, None))
    assert (f"f32[15,{vocabulary}]" in text) == (chunk == 0)
    assert (f"f32[4,{vocabulary}]" in text) == (chunk == 4)
