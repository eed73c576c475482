"""Seeded pairs of answers, equal or unequal by construction, printed by SymPy.

Each pair starts from one object and writes it twice, in two forms that SymPy makes of it (expanded, factored, rewritten, its
LaTeX or its plain text). For an unequal pair the second object is another: a constant, sign, end or bracket is changed, and the
difference is checked numerically where both are expressions, so that the label never rests on the verifier under test.

    python generate_pairs.py --count 6000 --seed 1 > pairs.jsonl
"""

import argparse
import json
import random

import sympy as sp
from sympy import latex

x, y, n = sp.symbols("x y n", positive=True)


def integer(rng, low=1, high=12):
    return sp.Integer(rng.randint(low, high))


def rational(rng):
    return sp.Rational(rng.randint(-60, 60), rng.randint(2, 40))


def number(rng):
    q = rational(rng)
    forms = [latex(q), str(q), latex(q, fold_short_frac=True), latex(sp.Mul(q.p, sp.Pow(q.q, -1), evaluate=False))]
    if sp.Integer(10**6) % q.q == 0:
        forms.append(str(sp.Float(q, 12).round(6)).rstrip("0").rstrip("."))
    return q, forms


def polynomial(rng):
    roots = [rational(rng) if rng.random() < 0.3 else integer(rng, -9, 9) for _ in range(rng.randint(1, 4))]
    p = integer(rng) * sp.prod(x - r for r in roots) + (y * integer(rng) if rng.random() < 0.4 else 0)
    return p, [latex(sp.expand(p)), latex(sp.factor(p)), str(sp.expand(p)), latex(sp.horner(sp.expand(p), x) if not p.has(y) else p)]


def quotient(rng):
    a, b, c, d = (integer(rng) for _ in range(4))
    f = (a * x + b) / (x + c) + d / (x + y)
    return f, [latex(f), latex(sp.together(f)), latex(sp.apart(f, x)), str(sp.together(f))]


def radical(rng):
    a, b, c = integer(rng, 2, 60), integer(rng, 2, 60), integer(rng, 1, 9)
    f = sp.sqrt(a) * c + sp.sqrt(b) / 2
    raw = sp.Add(sp.Mul(c, sp.Pow(a, sp.Rational(1, 2), evaluate=False), evaluate=False), sp.sqrt(b) / 2, evaluate=False)
    g = sp.radsimp(1 / (sp.sqrt(a) + c)) if a != c**2 else f
    h = 1 / (sp.sqrt(a) + c) if a != c**2 else f
    return (f, [latex(f), latex(raw), str(f)]) if rng.random() < 0.5 else (h, [latex(h), latex(g), str(g)])


def trigonometric(rng):
    k, a = integer(rng, 1, 3), integer(rng, 1, 4)
    f = rng.choice([sp.sin(2 * k * x), sp.cos(2 * x) * a, sp.tan(x) + a, sp.sin(x + a * y), sp.cos(x) ** 2 + a, sp.sec(x) ** 2 * a])
    return f, [latex(f), latex(sp.expand_trig(f)), latex(f.rewrite(sp.cos)), str(f)]


def transcendental(rng):
    a, b = integer(rng, 2, 9), integer(rng, 2, 9)
    f = rng.choice([sp.log(a * x**b), sp.exp(a * x + b), sp.log(a) + sp.log(b), a ** (x + b), sp.E**b / a, sp.log(x / a) * b, sp.pi * a + sp.log(b)])
    return f, [latex(f), latex(sp.expand_log(sp.expand(f), force=True)), latex(sp.powsimp(f)), str(f)]


def special(rng):
    a = integer(rng, 1, 11)
    f = rng.choice([sp.sin(sp.pi * a / 12), sp.cos(sp.pi * a / 12), sp.tan(sp.pi / 12 * min(a, 5)), sp.atan(sp.sqrt(3)), sp.asin(sp.Rational(1, 2)) * a])
    return f, [latex(f), str(f), latex(sp.simplify(f))]


def complex_number(rng):
    a, b, c, d = (integer(rng, -9, 9) for _ in range(4))
    c = c or sp.Integer(1)
    f = (a + b * sp.I) / (c + d * sp.I)
    return f, [latex(f), latex(sp.expand_complex(f)), str(sp.expand_complex(f))]


def big(rng):
    a, b, k = integer(rng, 2, 9), integer(rng, 2, 9), integer(rng, 100, 3000)
    raw = sp.Pow(a, k, evaluate=False)
    f = sp.Mul(raw, b, evaluate=False)
    return ("big", (a, k, b)), [f"{b} \\cdot {a}^{{{k}}}", f"{a}^{{{k}}} \\cdot {b}", f"{a * b} \\cdot {a}^{{{k - 1}}}"]


SCALARS = [number, polynomial, quotient, radical, trigonometric, transcendental, special, complex_number]


def differs(f, g):
    """Whether two expressions differ at some point, to 30 digits."""
    for point in ({x: sp.Rational(7, 5), y: sp.Rational(11, 7), n: 3}, {x: sp.Rational(23, 9), y: sp.Rational(5, 8), n: 4}):
        if abs(sp.N((f - g).subs(point), 30)) > sp.Float("1e-20"):
            return True
    return False


def changed(rng, f):
    """Another expression of the same look."""
    for _ in range(20):
        numbers = [a for a in sp.preorder_traversal(f) if a.is_Rational and a not in (1, -1)]
        how = rng.randrange(3)
        if numbers and how:
            old = rng.choice(numbers)
            g = f.xreplace({old: old + rng.choice([1, -1, 2, sp.Rational(1, 10**6)])})
        else:
            g = rng.choice([-f, f + 1, f * 2, f - sp.Rational(1, 1000)])
        try:
            if not g.has(sp.zoo, sp.nan, sp.oo) and differs(f, g):
                return g
        except (TypeError, ValueError):
            continue
    return f + 1


def dressed(text):
    """LaTeX in dollar signs; SymPy's plain text bare, as a model would write it."""
    return f"${text}$" if "\\" in text or not any(c.isalpha() for c in text) else text


def scalar_pair(rng, equal):
    f, forms = rng.choice(SCALARS)(rng)
    gold, pred = rng.sample(forms, 2) if len(forms) > 1 else forms * 2
    if equal:
        return gold, pred
    g = changed(rng, f)
    return gold, rng.choice([latex, str])(g)


def big_pair(rng, equal):
    (_, (a, k, b)), forms = big(rng)
    gold, pred = rng.sample(forms, 2)
    return (gold, pred) if equal else (gold, rng.choice([f"{b} \\cdot {a}^{{{k + 1}}}", f"{b + 1} \\cdot {a}^{{{k}}}"]))


def interval_pair(rng, equal):
    a = rational(rng)
    b = a + abs(rational(rng)) + 1
    left, right = rng.random() < 0.5, rng.random() < 0.5
    gold = latex(sp.Interval(a, b, left, right))
    if equal:
        op = lambda strict: "<" if strict else "\\le"
        if rng.random() < 0.5:
            # The inequality is the truth; the answer is the interval.
            return f"{latex(a)} {op(left)} x {op(right)} {latex(b)}", gold
        c = (a + b) / 2
        return gold, latex(sp.Interval(a, c, left, True)) + " \\cup " + latex(sp.Interval(c, b, False, right))
    return gold, rng.choice([latex(sp.Interval(a, b, not left, right)), latex(sp.Interval(a, b + 1, left, right)), latex(sp.Interval(a - 1, b, left, right))])


def set_pair(rng, equal):
    items = rng.sample([rational(rng), integer(rng), sp.sqrt(integer(rng, 2, 30)), sp.pi / integer(rng), integer(rng, -20, -1), rational(rng) + 7], rng.randint(2, 4))
    items = list(dict.fromkeys(items))
    shuffled = rng.sample(items, len(items))
    wrap = rng.choice([lambda s: "\\{" + s + "\\}", lambda s: s])
    gold = wrap(", ".join(map(latex, items)))
    if equal:
        return gold, wrap(", ".join(map(str if rng.random() < 0.3 else latex, shuffled)))
    if rng.random() < 0.5 and len(items) > 2:
        return gold, wrap(", ".join(map(latex, shuffled[1:])))
    shuffled[0] = shuffled[0] + 1 if shuffled[0] + 1 not in items else shuffled[0] + 100
    return gold, wrap(", ".join(map(latex, shuffled)))


def tuple_pair(rng, equal):
    items = [rng.choice([rational, integer])(rng) for _ in range(rng.randint(2, 4))]
    gold = "\\left(" + ", ".join(map(latex, items)) + "\\right)"
    if equal:
        return gold, "(" + ", ".join(map(str, items)) + ")"
    other = items[:]
    other[rng.randrange(len(other))] += 1
    return gold, "(" + ", ".join(map(str, other)) + ")"


def matrix_pair(rng, equal):
    rows, columns = rng.randint(1, 3), rng.randint(2, 3)
    m = sp.Matrix(rows, columns, lambda *_: rng.choice([rational, integer])(rng))
    gold = latex(m)
    if equal:
        return gold, latex(m, mat_str="pmatrix", mat_delim="")
    k = m.copy()
    k[rng.randrange(rows), rng.randrange(columns)] += 1
    return gold, latex(k)


def equation_pair(rng, equal):
    a, b, c, k = (integer(rng, 1, 20) for _ in range(4))
    left = rng.choice([a * x + b * y, a * x**2 + b * y**2, a * x**2 - b * y])
    gold = f"{latex(left)} = {c}"
    if equal:
        return gold, rng.choice([f"{latex(sp.expand(k * left))} = {k * c}", f"{latex(left - c)} = 0", f"{c} = {latex(left)}", f"{latex(sp.expand(-left))} = {-c}"])
    return gold, rng.choice([f"{latex(left)} = {c + 1}", f"{latex(left + x)} = {c}"])


MAKERS = [(scalar_pair, 12), (big_pair, 1), (interval_pair, 2), (set_pair, 2), (tuple_pair, 1), (matrix_pair, 1), (equation_pair, 2)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=6000)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    rng = random.Random(args.seed)
    makers = [m for m, weight in MAKERS for _ in range(weight)]
    for i in range(args.count):
        maker, equal = rng.choice(makers), i % 2 == 0
        gold, pred = maker(rng, equal)
        print(json.dumps({"id": f"sympy-{args.seed}-{i}", "kind": "math", "source": maker.__name__, "gold": dressed(gold), "pred": dressed(pred), "expected": equal}))


if __name__ == "__main__":
    main()
