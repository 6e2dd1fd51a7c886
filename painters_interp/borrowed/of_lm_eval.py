"""Private names of lm-eval: what `evaluation.harness` overrides in its HFLM, on itself alone."""

SEEN = "0.4.13"
NAMES = {
    "lm_eval.models.huggingface.HFLM": {
        "_model": "`model` shows HFLM nothing that it could change while it is made",
        "_device": "a model whose weights come when they are needed computes elsewhere",
        "_loglikelihood_tokens": "its own tokenisation of requests, and nothing run",
    },
}
