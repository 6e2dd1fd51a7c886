"""Write the generated probes' JSONL files, or check that the committed ones are what it writes.

    python -m painters_interp.evaluation.probes.authoring.generate [--check]

``probe_cloze.jsonl`` and ``probe_facts.jsonl`` are hand-written: edit the files themselves.
Bump ``metadata.version`` in a probe's YAML when its items change.
"""

import argparse
from pathlib import Path

from . import arithmetic, grammar, order, problems
from .item import jsonl

# The items are drawn with SEED and put in order with another, picked so that the first 32 items,
# which is what ``--limit 32`` takes, are about as hard as the rest.
SEED = 0
ORDER_SEED = 570
PROBLEMS_ORDER_SEED = 19
HERE = Path(__file__).parent.parent


def generated() -> dict[str, str]:
    """Return file name -> text."""
    return {
        "probe_arithmetic.jsonl": jsonl(arithmetic.items(SEED), "kind", ORDER_SEED),
        "probe_grammar.jsonl": jsonl(grammar.items(), "phenomenon", ORDER_SEED),
        "probe_order.jsonl": jsonl(order.items(SEED), "kind", ORDER_SEED),
        "probe_word_problems.jsonl": problems.jsonl(problems.items(SEED), PROBLEMS_ORDER_SEED),
    }


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit status is 1 when ``--check`` finds a difference."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="compare, write nothing")
    check = parser.parse_args(argv).check
    stale = []
    for name, text in generated().items():
        path = HERE / name
        data = text.encode()
        if path.exists() and path.read_bytes() == data:
            continue
        stale.append(name)
        if not check:
            path.write_bytes(data)
    print(f"{'differ' if check else 'written'}: {', '.join(stale)}" if stale else "up to date")
    return int(check and bool(stale))


if __name__ == "__main__":
    raise SystemExit(main())
