"""The same training in PyTorch, as its users write it: what `bench rhn --peer torch` compares with.

An RHN language model with tied embedding and coupled gates, one window of truncated
back-propagation after the other. PyTorch is an extra that nothing else needs.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from experiments.bench import Training
from highway.config import LanguageModelConfig


class _Deferred(torch.autograd.Function):
    """x · weightᵀ that leaves its share of the weight's gradient for one product of all of them."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, shares: list[tuple[Tensor, Tensor]]) -> Tensor:
        ctx.x, ctx.weight, ctx.shares = x.detach(), weight.detach(), shares
        return ctx.x @ ctx.weight.T

    @staticmethod
    def backward(ctx, error: Tensor) -> tuple[Tensor, None, None]:
        ctx.shares.append((ctx.x, error))
        return error @ ctx.weight, None, None


class _Model(nn.Module):
    def __init__(self, config: LanguageModelConfig, vocabulary: int, *, deferred: bool):
        super().__init__()
        model = config.model
        self.config, self.deferred = model, deferred
        self.embedding = nn.Embedding(vocabulary, model.units)
        self.input = nn.Linear(model.units, 2 * model.units, bias=False)
        self.layers = nn.ModuleList(
            nn.Linear(model.units, 2 * model.units) for _ in range(model.depth)
        )
        self.softmax_bias = nn.Parameter(torch.zeros(vocabulary))
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -model.initial_range, model.initial_range)
        for layer in self.layers:
            nn.init.constant_(layer.bias[model.units :], model.transform_bias)

    def forward(self, state: Tensor, tokens: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """(state [batch, units], tokens and targets [batch, time]) → (summed loss, last state)."""
        config, batch = self.config, len(tokens)
        words = _mask(config.dropout_x, batch, self.embedding.num_embeddings)
        x = self.embedding(tokens) * words.gather(1, tokens)[..., None]
        x = x * _mask(config.dropout_i, batch, 1, config.units)
        recurrent = _mask(config.dropout_h, batch, config.units)
        shares: list[list[tuple[Tensor, Tensor]]] = [[] for _ in self.layers]
        outputs = []
        for projected in self.input(x).unbind(1):
            for depth, layer in enumerate(self.layers):
                dropped = state * recurrent
                if self.deferred:
                    gates = _Deferred.apply(dropped, layer.weight, shares[depth]) + layer.bias
                else:
                    gates = layer(dropped)
                if depth == 0:
                    gates = gates + projected
                h, t = gates.chunk(2, dim=1)
                t = torch.sigmoid(t)
                state = torch.tanh(h) * t + state * (1 - t)
            outputs.append(state)
        self.shares = shares
        features = torch.stack(outputs, 1) * _mask(config.dropout_o, batch, 1, config.units)
        logits = features @ self.embedding.weight.T + self.softmax_bias
        loss = functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="sum")
        return loss / batch, state

    @torch.no_grad()
    def add_deferred(self) -> None:
        """Give the layers the gradients that were left, as one product each."""
        for layer, shares in zip(self.layers, self.shares, strict=True):
            if shares:
                xs, errors = (torch.cat(part) for part in zip(*shares, strict=True))
                layer.weight.grad = errors.T @ xs


class TorchTraining(Training):
    """A training under way."""

    def __init__(self, config: LanguageModelConfig, vocabulary: int, *, deferred: bool):
        """Make model and data; `deferred` takes a layer's weight gradient as one product."""
        train = config.train
        torch.manual_seed(0)
        self.model = _Model(config, vocabulary, deferred=deferred)
        self.clip_norm = train.clip_norm
        self.optimizer = torch.optim.SGD(
            self.model.parameters(), lr=train.learning_rate, weight_decay=train.weight_decay
        )
        tokens = torch.randint(vocabulary, (train.batch_size, train.steps + 1))
        self.inputs, self.targets = tokens[:, :-1], tokens[:, 1:]
        self.state = torch.zeros(train.batch_size, config.model.units)

    def update(self) -> float:
        """Do one update; return its loss."""
        self.optimizer.zero_grad()
        loss, state = self.model(self.state, self.inputs, self.targets)
        loss.backward()
        self.model.add_deferred()
        nn.utils.clip_grad_norm_(self.model.parameters(), self.clip_norm)
        self.optimizer.step()
        self.state = state.detach()
        return loss.item()

    def advance(self, steps: int) -> None:
        """Do so many updates."""
        for _ in range(steps):
            self.update()


def _mask(rate: float, *shape: int) -> Tensor:
    """A mask of variational dropout: zeros, and 1 / (1 − rate)."""
    return torch.empty(shape).bernoulli_(1 - rate) / (1 - rate)
