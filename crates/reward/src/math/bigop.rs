//! Sums, products, integrals, limits and environments such as matrices.

use super::calculus;
use super::expr::{Const, Expr};
use super::lex::Tok;
use super::parse::{ParseError, Parsed, Parser};

impl Parser {
    /// `\sum_{k=1}^{n} body`, `Sum(body, (k, 1, n))`.
    pub(super) fn range(&mut self, product: bool) -> Parsed {
        if self.eat('(') {
            let args = self.arguments()?;
            return match <[Expr; 2]>::try_from(args) {
                Ok([body, Expr::Seq { items, .. }]) => match <[Expr; 3]>::try_from(items) {
                    Ok([Expr::Sym(var), from, to]) => {
                        Ok(Expr::Range { product, var, from: from.into(), to: to.into(), body: body.into() })
                    }
                    _ => Err(ParseError::Syntax),
                },
                _ => Err(ParseError::Syntax),
            };
        }
        let (mut below, mut above) = (None, None);
        while self.is_op('_') || self.is_op('^') {
            let under = self.eat('_');
            self.pos += usize::from(!under);
            *(if under { &mut below } else { &mut above }) = Some(self.argument_or_signed()?);
        }
        let body = self.deeper(Self::product)?;
        let name = if product { "prod" } else { "sum" };
        Ok(match (below, above) {
            (Some(Expr::Rel(mut sides, ops)), Some(to))
                if sides.len() == 2 && ops[0] == super::expr::RelOp::Eq =>
            {
                let from = sides.remove(1);
                match sides.remove(0) {
                    Expr::Sym(var) => {
                        Expr::Range { product, var, from: from.into(), to: to.into(), body: body.into() }
                    }
                    // ∑ over i: the letter is the index here, not √−1.
                    Expr::Const(Const::I) => Expr::Range {
                        product,
                        var: "i".into(),
                        from: from.into(),
                        to: to.into(),
                        body: Box::new(calculus::substitute(
                            &body,
                            &Expr::Const(Const::I),
                            &Expr::Sym("i".into()),
                        )),
                    },
                    other => Expr::Opaque(name.into(), vec![other, from, to, body]),
                }
            }
            (below, above) => {
                let parts = below.into_iter().chain(above).chain([body]).collect();
                Expr::Opaque(name.into(), parts)
            }
        })
    }

    /// `\int_a^b f\,dx`: evaluated where [`calculus`] can, else compared by its parts.
    pub(super) fn integral(&mut self) -> Parsed {
        let (mut below, mut above) = (None, None);
        while self.is_op('_') || self.is_op('^') {
            let under = self.eat('_');
            self.pos += usize::from(!under);
            *(if under { &mut below } else { &mut above }) = Some(self.argument_or_signed()?);
        }
        self.integrals += 1;
        let body = match (self.peek(), self.peek_at(1)) {
            (Some(Tok::Sym(d)), Some(Tok::Sym(_))) if d == "d" => Ok(Expr::int(1)),
            _ => self.deeper(Self::sum),
        };
        self.integrals -= 1;
        let body = body?;
        let var = match (self.peek(), self.peek_at(1)) {
            (Some(Tok::Sym(d)), Some(Tok::Sym(var))) if d == "d" => var.clone(),
            _ => return Err(ParseError::Syntax),
        };
        self.pos += 2;
        let whole = calculus::antiderivative(&body, &var);
        Ok(match (below, above, whole) {
            (Some(a), Some(b), Some(whole)) => {
                let at = |x: &Expr| calculus::substitute(&whole, &Expr::Sym(var.clone()), x);
                Expr::add(vec![at(&b), at(&a).neg()])
            }
            (None, None, Some(whole)) => whole,
            (below, above, _) => {
                let parts = below.into_iter().chain(above).chain([body, Expr::Sym(var)]).collect();
                Expr::Opaque("integral".into(), parts)
            }
        })
    }

    pub(super) fn limit(&mut self) -> Parsed {
        let below = if self.eat('_') { Some(self.argument()?) } else { None };
        let body = self.deeper(Self::product)?;
        Ok(Expr::Opaque("limit".into(), below.into_iter().chain([body]).collect()))
    }

    /// `\begin{…} a & b \\ c & d \end{…}`.
    pub(super) fn deeper_env(&mut self, env: &str) -> Parsed {
        let env = env.to_owned();
        let rows = self.fresh(|p| {
            let mut rows: Vec<Vec<Expr>> = vec![vec![]];
            loop {
                match p.peek() {
                    None => return Err(ParseError::Syntax),
                    Some(Tok::End(_)) => {
                        p.pos += 1;
                        break;
                    }
                    Some(Tok::Op('&')) => p.pos += 1,
                    Some(Tok::Op('↵')) => {
                        p.pos += 1;
                        rows.push(vec![]);
                    }
                    Some(Tok::Op(',' | '␣' | '.' | ';')) => p.pos += 1,
                    _ => {
                        let cell = p.deeper(Self::relation)?;
                        if let Some(row) = rows.last_mut() {
                            row.push(cell);
                        }
                    }
                }
            }
            rows.retain(|r| !r.is_empty());
            Ok(rows)
        })?;
        let matrix = matches!(
            env.as_str(),
            "matrix" | "pmatrix" | "bmatrix" | "Bmatrix" | "vmatrix" | "Vmatrix" | "smallmatrix" | "array"
        );
        if !matrix {
            // cases, align: rows of relations, one below the other.
            let items: Vec<Expr> = rows.into_iter().flatten().collect();
            return Ok(if items.len() == 1 {
                items.into_iter().next().ok_or(ParseError::Syntax)?
            } else {
                Expr::List(items)
            });
        }
        let width = rows.first().map_or(0, Vec::len);
        if width == 0 || rows.iter().any(|r| r.len() != width) {
            return Err(ParseError::Syntax);
        }
        Ok(match env.as_str() {
            "vmatrix" => Expr::Opaque("det".into(), vec![Expr::Matrix(rows)]),
            _ => Expr::Matrix(rows),
        })
    }
}
