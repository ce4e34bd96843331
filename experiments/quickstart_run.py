"""Trains the quickstart's models one after the other and shows them side by side."""

from experiments.language_model_run import (
    DivergedModel,
    Trained,
    draw_curves,
    load_corpus,
    outcome,
    train,
)
from experiments.quickstart import QuickstartConfig
from experiments.run import Context, DivergedRun, Outcome


def run(context: Context) -> Outcome:
    """Both models on the same text: two curves in one picture, two samples in one file."""
    config: QuickstartConfig = context.config
    corpus = load_corpus(context, config.data)
    models: dict[str, Trained] = {}
    for name in ("rhn", "lstm"):
        try:
            models[name] = train(context, config.model(name), corpus, label=name, folder=name)
        except DivergedModel as error:
            models[name] = error.so_far
            raise DivergedRun(str(error), outcome(context, corpus, models)) from None
    draw_curves(context, corpus, models)
    samples = "".join(f"--- {name} ---\n{model.sample}\n" for name, model in models.items())
    (context.run.path / "sample.txt").write_text(samples, encoding="utf-8")
    return outcome(context, corpus, models)
