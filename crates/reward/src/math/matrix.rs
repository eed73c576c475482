//! Matrix arithmetic: sums, products, scalar multiples, transposes and small determinants are carried out.

use super::calculus::nodes;
use super::expr::Expr;

const MAX_ENTRIES: usize = 144;
/// Nodes of a result: entries are not simplified on the way, so a chain of products doubles in each step.
const MAX_NODES: usize = 2_000;

type Rows = Vec<Vec<Expr>>;

/// `e` with matrix operations carried out where the shapes allow; unchanged otherwise.
pub(super) fn evaluated(e: &Expr) -> Expr {
    if !e.any(&|n| matches!(n, Expr::Matrix(_))) {
        return e.clone();
    }
    match e {
        Expr::Add(items) => {
            let items: Vec<Expr> = items.iter().map(evaluated).collect();
            fold(&items, |a, b| match (a, b) {
                (Expr::Matrix(x), Expr::Matrix(y)) if x.len() == y.len() && x[0].len() == y[0].len() => {
                    Some(Expr::Matrix(
                        x.iter()
                            .zip(y)
                            .map(|(r, s)| {
                                r.iter().zip(s).map(|(p, q)| Expr::add(vec![p.clone(), q.clone()])).collect()
                            })
                            .collect(),
                    ))
                }
                _ => None,
            })
            .unwrap_or(Expr::Add(items))
        }
        Expr::Mul(items) => {
            let items: Vec<Expr> = items.iter().map(evaluated).collect();
            fold(&items, product).unwrap_or(Expr::Mul(items))
        }
        Expr::Opaque(name, args) => match (name.as_str(), args.iter().map(evaluated).collect::<Vec<_>>()) {
            ("transpose", args) if matches!(args[..], [Expr::Matrix(_)]) => match &args[0] {
                Expr::Matrix(rows) => Expr::Matrix(
                    (0..rows[0].len()).map(|j| rows.iter().map(|r| r[j].clone()).collect()).collect(),
                ),
                _ => e.clone(),
            },
            ("det", args) => match &args[..] {
                [Expr::Matrix(rows)] if rows.len() == rows[0].len() && rows.len() <= 4 => determinant(rows),
                _ => e.clone(),
            },
            _ => e.clone(),
        },
        Expr::Rel(sides, ops) => Expr::Rel(sides.iter().map(evaluated).collect(), ops.clone()),
        _ => e.clone(),
    }
}

fn fold(items: &[Expr], op: fn(&Expr, &Expr) -> Option<Expr>) -> Option<Expr> {
    let (first, rest) = items.split_first()?;
    rest.iter().try_fold(first.clone(), |a, b| op(&a, b).filter(|c| nodes(c) <= MAX_NODES))
}

fn product(a: &Expr, b: &Expr) -> Option<Expr> {
    match (a, b) {
        (Expr::Matrix(x), Expr::Matrix(y)) => {
            let (n, k, m) = (x.len(), y.len(), y[0].len());
            if x[0].len() != k || n * m * k > MAX_ENTRIES {
                return None;
            }
            let entry = |i: usize, j: usize| {
                Expr::add((0..k).map(|l| Expr::mul(vec![x[i][l].clone(), y[l][j].clone()])).collect())
            };
            Some(Expr::Matrix((0..n).map(|i| (0..m).map(|j| entry(i, j)).collect()).collect()))
        }
        (Expr::Matrix(rows), scalar) | (scalar, Expr::Matrix(rows)) if scalar.is_scalar() => {
            Some(Expr::Matrix(
                rows.iter()
                    .map(|r| r.iter().map(|x| Expr::mul(vec![scalar.clone(), x.clone()])).collect())
                    .collect(),
            ))
        }
        (x, y) if x.is_scalar() && y.is_scalar() => Some(Expr::mul(vec![x.clone(), y.clone()])),
        _ => None,
    }
}

/// Expansion along the first row; at most 4 × 4.
fn determinant(rows: &Rows) -> Expr {
    if rows.len() == 1 {
        return rows[0][0].clone();
    }
    let minor = |column: usize| -> Rows {
        rows[1..]
            .iter()
            .map(|r| r.iter().enumerate().filter(|(j, _)| *j != column).map(|(_, x)| x.clone()).collect())
            .collect()
    };
    let term = |j: usize| {
        let value = Expr::mul(vec![rows[0][j].clone(), determinant(&minor(j))]);
        if j % 2 == 1 { value.neg() } else { value }
    };
    Expr::add((0..rows.len()).map(term).collect())
}
