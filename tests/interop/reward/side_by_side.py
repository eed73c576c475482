"""Math-Verify's verdicts beside the project's on the same pairs.

    trainer verify --data pairs.jsonl > ours.jsonl
    python side_by_side.py pairs.jsonl ours.jsonl

Prints one JSON object: for each verifier the rate, false accepts, false rejects and times of one call in microseconds
(Math-Verify's are measured here, warm, one process; its timeouts of five seconds count as they are).
"""

import json
import statistics
import sys
import time
from collections import Counter

from math_verify import parse, verify
from math_verify.parser import ExprExtractionConfig, LatexExtractionConfig

TARGETS = [LatexExtractionConfig(), ExprExtractionConfig()]


def theirs(row):
    start = time.perf_counter()
    try:
        accepted = verify(parse(row["gold"], TARGETS), parse(row["pred"], TARGETS))
    except Exception:  # A crash of the peer is its verdict: not accepted.
        accepted = False
    return bool(accepted), (time.perf_counter() - start) * 1e6


def summary(rows, accepted):
    wrong = Counter()
    for row, said in zip(rows, accepted):
        if said != row["expected"]:
            wrong["false_accepts" if said else "false_rejects"] += 1
    right = len(rows) - sum(wrong.values())
    return {"rows": len(rows), "right": right, "rate": round(100 * right / len(rows), 2), "false_accepts": wrong["false_accepts"], "false_rejects": wrong["false_rejects"]}


def main():
    pairs, ours = sys.argv[1:3]
    rows = [json.loads(line) for line in open(pairs, encoding="utf-8")]
    verdicts = [json.loads(line) for line in open(ours, encoding="utf-8")]
    assert [r["id"] for r in rows] == [v["id"] for v in verdicts], "the two files are not of the same rows"
    theirs(rows[0])
    results = [theirs(row) for row in rows]
    times = sorted(t for _, t in results)
    report = {
        "ours": summary(rows, [v.get("verdict") == "accept" for v in verdicts]),
        "math_verify": summary(rows, [a for a, _ in results]),
        "math_verify_us": {"median": round(statistics.median(times)), "p99": round(times[int(0.99 * len(times))]), "max": round(times[-1])},
        "by_source": {},
    }
    for source in sorted({r["source"] for r in rows}):
        chosen = [i for i, r in enumerate(rows) if r["source"] == source]
        pick = lambda values: [values[i] for i in chosen]
        report["by_source"][source] = {
            "ours": summary(pick(rows), pick([v.get("verdict") == "accept" for v in verdicts])),
            "math_verify": summary(pick(rows), pick([a for a, _ in results])),
        }
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
