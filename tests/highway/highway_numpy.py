"""The first paper's language models in plain NumPy, from the equations of docs/published.md.

Written without a look at the JAX code: loops over time, gates and layers, one small matrix product
at a time, batch-major. Slow and meant to be read. All parameters live in one flat dictionary:

  E                       [V, D]  embedding; also the softmax weights of a tied model, transposed
  W_<gate>.<k>            [D, U]  input matrix of stacked cell k
  R_<gate>.<k>.<n>        [U, U]  recurrent matrix of its highway (or transition) layer n
  b_<gate>.<k>.<n>        [U]     bias
  softmax_W, softmax_b    [U, V], [V]

Gates are H (proposal), T (transform) and C (carry; uncoupled only) of an RHN; H and S (shortcut,
past the layers between) of a DT-RNN; I, F, O and G of an LSTM. A model is described by anything
with the attributes core, depth, units, layers, tied and coupled.

Masks are a dictionary: "x" [B, V] and "o" [B, U], or None; "i" and "h" lists over stacked cells of
dictionaries {gate: [B, width]}, or None.

Everything but the hand-written backward pass also takes complex parameters, so that derivatives can
be had by the complex step, exact to rounding: f'(a) = Im f(a + iε) / ε.
"""

import numpy as np


def gate_names(model):
    if model.core == "rhn":
        return ["H", "T"] if model.coupled else ["H", "T", "C"]
    return ["I", "F", "O", "G"] if model.core == "lstm" else ["H"]


def has_shortcut(model):
    return model.core == "dts_rnn" and model.depth > 1


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def dropped(x, masks, gate):
    return x if masks is None else x * masks[gate]


# ---------------------------------------------------------------------------------------- cells


def rhn_step(p, model, k, x, s, mask_i=None, mask_h=None):
    """One time step of stacked cell k: the new state, and (s, h, t, c) of every highway layer."""
    tape = []
    for n in range(model.depth):
        a = {}
        for g in gate_names(model):
            a[g] = dropped(s, mask_h, g) @ p[f"R_{g}.{k}.{n}"] + p[f"b_{g}.{k}.{n}"]
            if n == 0:
                a[g] = a[g] + dropped(x, mask_i, g) @ p[f"W_{g}.{k}"]
        h = np.tanh(a["H"])
        t = sigmoid(a["T"])
        c = 1 - t if model.coupled else sigmoid(a["C"])
        tape.append((s, h, t, c))
        s = h * t + s * c
    return s, tape


def rhn_step_backward(p, grads, model, k, x, tape, ds, mask_i=None, mask_h=None):
    """From the gradient of the new state those of x and of the old state; adds to `grads`."""
    dx = np.zeros_like(x)
    for n in reversed(range(model.depth)):
        s, h, t, c = tape[n]
        dh, dt, dc, ds_before = ds * t, ds * h, ds * s, ds * c
        if model.coupled:  # c = 1 − t
            dt = dt - dc
        da = {"H": dh * (1 - h**2), "T": dt * t * (1 - t), "C": dc * c * (1 - c)}
        for g in gate_names(model):
            grads[f"R_{g}.{k}.{n}"] += dropped(s, mask_h, g).T @ da[g]
            grads[f"b_{g}.{k}.{n}"] += da[g].sum(axis=0)
            ds_before = ds_before + dropped(da[g] @ p[f"R_{g}.{k}.{n}"].T, mask_h, g)
            if n == 0:
                grads[f"W_{g}.{k}"] += dropped(x, mask_i, g).T @ da[g]
                dx = dx + dropped(da[g] @ p[f"W_{g}.{k}"].T, mask_i, g)
        ds = ds_before
    return dx, ds


def dt_rnn_step(p, model, k, x, s, mask_i=None, mask_h=None):
    """DT-RNN and DT(S)-RNN: tanh layers in a row; with shortcuts the last reads x and s again."""
    old = s
    for n in range(model.depth):
        a = dropped(s, mask_h, "H") @ p[f"R_H.{k}.{n}"] + p[f"b_H.{k}.{n}"]
        if n == 0:
            a = a + dropped(x, mask_i, "H") @ p[f"W_H.{k}"]
        if has_shortcut(model) and n == model.depth - 1:
            a = a + dropped(x, mask_i, "H") @ p[f"W_S.{k}"]
            a = a + dropped(old, mask_h, "H") @ p[f"R_S.{k}"]
        s = np.tanh(a)
    return s


def lstm_step(p, k, x, state, mask_i=None, mask_h=None):
    """LSTM with forget gates, no peepholes; state (cell, output), only the output is dropped."""
    cell, y = state
    a = {}
    for g in "IFOG":
        a[g] = dropped(x, mask_i, g) @ p[f"W_{g}.{k}"] + dropped(y, mask_h, g) @ p[f"R_{g}.{k}.0"]
        a[g] = a[g] + p[f"b_{g}.{k}.0"]
    cell = sigmoid(a["F"]) * cell + sigmoid(a["I"]) * np.tanh(a["G"])
    return cell, sigmoid(a["O"]) * np.tanh(cell)


def step(p, model, k, x, state, mask_i=None, mask_h=None):
    """One time step of any core: new state, output, and the tape of an RHN (None of others)."""
    if model.core == "rhn":
        s, tape = rhn_step(p, model, k, x, state, mask_i, mask_h)
        return s, s, tape
    if model.core == "lstm":
        state = lstm_step(p, k, x, state, mask_i, mask_h)
        return state, state[1], None
    s = dt_rnn_step(p, model, k, x, state, mask_i, mask_h)
    return s, s, None


def zero_state(model, batch):
    zeros = np.zeros((batch, model.units))
    return [(zeros, zeros) if model.core == "lstm" else zeros for _ in range(model.layers)]


# ------------------------------------------------------------------------------- language model


def no_masks(model):
    return {"x": None, "i": [None] * model.layers, "h": [None] * model.layers, "o": None}


def softmax_weights(p, model):
    return p["E"].T if model.tied else p["softmax_W"]


def log_softmax(z):
    z = z - z.real.max(axis=-1, keepdims=True)
    return z - np.log(np.exp(z).sum(axis=-1, keepdims=True))


def forward(p, model, states, tokens, masks=None):
    """A window of tokens [B, time]: last states, logits [B, time, V], and what backward needs."""
    masks = masks or no_masks(model)
    batch, time = tokens.shape
    states = list(states)
    logits, tape = [], []
    for t in range(time):
        words = tokens[:, t]
        x = p["E"][words]
        if masks["x"] is not None:
            x = x * masks["x"][np.arange(batch), words][:, None]
        steps = []
        for k in range(model.layers):
            below = x
            states[k], x, highway = step(
                p, model, k, below, states[k], masks["i"][k], masks["h"][k]
            )
            steps.append((below, highway))
        y = x if masks["o"] is None else x * masks["o"]
        logits.append(y @ softmax_weights(p, model) + p["softmax_b"])
        tape.append((steps, y))
    return states, np.stack(logits, axis=1), tape


def token_losses(logits, targets):
    """Cross entropy in nats of each token, [B, time]."""
    batch, time = targets.shape
    rows, columns = np.arange(batch)[:, None], np.arange(time)[None, :]
    return -log_softmax(logits)[rows, columns, targets]


def cost(p, model, states, tokens, targets, masks=None, weight_decay=0.0):
    """Sum over time of the mean over the batch of the losses, plus 0.5 · wd · Σ w²."""
    states, logits, _ = forward(p, model, states, tokens, masks)
    losses = token_losses(logits, targets)
    squares = sum((w**2).sum() for w in p.values())
    return losses.mean(axis=0).sum() + 0.5 * weight_decay * squares


def gradient(p, model, states, tokens, targets, masks=None, weight_decay=0.0):
    """Back-propagation through time by hand, RHN only. Nothing flows into the initial states."""
    masks = masks or no_masks(model)
    batch, time = tokens.shape
    _, logits, tape = forward(p, model, states, tokens, masks)
    dlogits = np.exp(log_softmax(logits))
    for b in range(batch):
        for t in range(time):
            dlogits[b, t, targets[b, t]] -= 1
    dlogits /= batch

    grads = {name: weight_decay * w for name, w in p.items()}
    ds = [np.zeros((batch, model.units)) for _ in range(model.layers)]
    for t in reversed(range(time)):
        steps, y = tape[t]
        d = dlogits[:, t]
        grads["softmax_b"] += d.sum(axis=0)
        if model.tied:
            grads["E"] += d.T @ y
        else:
            grads["softmax_W"] += y.T @ d
        dx = d @ softmax_weights(p, model).T
        if masks["o"] is not None:
            dx = dx * masks["o"]
        for k in reversed(range(model.layers)):
            below, highway = steps[k]
            # The output is the state: it hears from the cell above and from the next time step.
            dx, ds[k] = rhn_step_backward(
                p, grads, model, k, below, highway, dx + ds[k], masks["i"][k], masks["h"][k]
            )
        for b in range(batch):
            word = tokens[b, t]
            scale = 1 if masks["x"] is None else masks["x"][b, word]
            grads["E"][word] += scale * dx[b]
    return grads


def complex_step_gradient(p, model, states, tokens, targets, masks=None, weight_decay=0.0):
    """The gradient from the forward pass alone, of any core, one parameter at a time."""
    tiny = 1e-30
    grads = {}
    for name, w in p.items():
        grads[name] = np.zeros(w.shape)
        for index in np.ndindex(w.shape):
            moved = w.astype(complex)
            moved[index] += 1j * tiny
            value = cost(p | {name: moved}, model, states, tokens, targets, masks, weight_decay)
            grads[name][index] = value.imag / tiny
    return grads


# ------------------------------------------------------------------------------------- training


def global_norm(grads):
    return np.sqrt(sum((g**2).sum() for g in grads.values()))


def clip(grads, limit):
    norm = global_norm(grads)
    return {name: g * (limit / norm) if norm > limit else g for name, g in grads.items()}


def learning_rate(train, epoch):
    """Epochs count from 0: constant through the first `constant_epochs`, as published."""
    return train.learning_rate / train.learning_rate_decay ** max(
        epoch - train.constant_epochs + 1, 0
    )


def sgd_step(p, grads, rate, clip_norm):
    clipped = clip(grads, clip_norm)
    return {name: w - rate * clipped[name] for name, w in p.items()}


def train_windows(p, model, train, windows, masks_of_step, steps):
    """SGD over windows (inputs, targets: [windows, B, time]), with `gradient` or the complex step.

    The states are carried from window to window and zero again where an epoch starts. Yields
    (parameters, states, losses, gradient norm) after each update.
    """
    per_epoch, batch, _ = windows.inputs.shape
    gradient_of = gradient if model.core == "rhn" else complex_step_gradient
    states = None
    for number in range(steps):
        epoch, position = divmod(number, per_epoch)
        if position == 0:
            states = zero_state(model, batch)
        tokens, targets = windows.inputs[position], windows.targets[position]
        masks = masks_of_step(number)
        grads = gradient_of(p, model, states, tokens, targets, masks, train.weight_decay)
        states, logits, _ = forward(p, model, states, tokens, masks)
        p = sgd_step(p, grads, learning_rate(train, epoch), train.clip_norm)
        yield p, states, token_losses(logits, targets), global_norm(grads)
