//! Powers, postfix marks and the atoms of an answer.

use super::expr::{Const, Expr, Func, Space};
use super::lex::Tok;
use super::parse::{ParseError, Parsed, Parser};
use super::suffix::scale_zeros;
use super::unit;
use crate::words::number_words;

impl Parser {
    /// Whether the next token begins a factor without a sign between.
    pub(super) fn begins_factor(&self) -> bool {
        let after_number = self.pos > 0 && matches!(self.toks[self.pos - 1].tok, Tok::Num(_));
        match self.peek() {
            Some(Tok::Num(_)) => !after_number,
            // A plain U between brackets is a union.
            Some(Tok::Sym(u)) if u.eq_ignore_ascii_case("u") && self.between_brackets() => false,
            Some(Tok::Sym(s)) => {
                !(self.integrals > 0 && s == "d" && matches!(self.peek_at(1), Some(Tok::Sym(_))))
            }
            Some(Tok::Name(name)) => !matches!(*name, "mod" | "pmod"),
            Some(Tok::Text(word)) => word.chars().count() == 1 && word.is_ascii(),
            Some(Tok::Op('(' | '{' | '⌊' | '⌈' | '√' | '[')) => true,
            Some(Tok::Op('|')) => self.bars == 0 && self.builders == 0,
            Some(Tok::Begin(_)) => true,
            _ => false,
        }
    }

    /// Whether the next token stands between a closing and an opening bracket.
    pub(super) fn between_brackets(&self) -> bool {
        let before = self.pos.checked_sub(1).map(|i| &self.toks[i].tok);
        matches!(before, Some(Tok::Op(')' | ']' | '⦄')))
            && matches!(self.peek_at(1), Some(Tok::Op('(' | '[' | '⦃')))
    }

    /// `1 1/2` and `1\frac{1}{2}`: after an integer a proper fraction of integers is added, anything else multiplied.
    ///
    /// The fraction is read once, whatever it turns out to be: reading it again would double the work at every nesting.
    pub(super) fn mixed(&mut self, items: &mut Vec<Expr>) -> Parsed<bool> {
        let whole = |e: &Expr| matches!(e, Expr::Num(n) if n.places.is_none() && n.value.is_integer());
        let after_number = self.pos > 0 && matches!(self.toks[self.pos - 1].tok, Tok::Num(_));
        if items.len() != 1 || !whole(&items[0]) || !after_number {
            return Ok(false);
        }
        let fraction = match (self.peek(), self.peek_at(1), self.peek_at(2)) {
            (Some(Tok::Name("frac")), ..) => self.deeper(Self::atom)?,
            (Some(Tok::Num(a)), Some(Tok::Op('/')), Some(Tok::Num(b))) if self.toks[self.pos].space => {
                let fraction = Expr::div(Expr::Num(a.clone()), Expr::Num(b.clone()));
                self.pos += 3;
                fraction
            }
            _ => return Ok(false),
        };
        match proper(&fraction) && !self.is_op('^') {
            true => {
                let whole = items.remove(0);
                items.push(Expr::add(vec![whole, fraction]));
                if self.eat('%') {
                    *items = vec![Expr::Percent(Box::new(Expr::mul(std::mem::take(items))))];
                }
            }
            false => items.push(self.postfixed(fraction)?),
        }
        Ok(true)
    }

    /// An atom with its powers, factorials, percent and degree signs.
    pub(super) fn power(&mut self) -> Parsed {
        let base = self.deeper(Self::atom)?;
        self.postfixed(base)
    }

    fn postfixed(&mut self, mut base: Expr) -> Parsed {
        loop {
            if self.eat('!') {
                base = Expr::call(Func::Factorial, base);
            } else if !matches!(base, Expr::Percent(_)) && self.eat('%') {
                base = Expr::Percent(Box::new(base));
            } else if self.eat('°') || (self.is_op('^') && self.exponent_is('°')) {
                base = Expr::quantity(base, self.degree_unit());
            } else if self.is_op('^') && self.exponent_is('\'') {
            } else if self.is_op('^') && matches!(base, Expr::Matrix(_)) && self.transposed() {
                base = Expr::Opaque("transpose".into(), vec![base]);
            } else if self.eat('^') {
                let exponent = self.deeper(Self::exponent)?;
                base = Expr::pow(base, exponent);
            } else {
                return Ok(base);
            }
        }
    }

    /// `^\circ`, `^{\circ}`, `^'`: consumed if the exponent is just `mark`.
    fn exponent_is(&mut self, mark: char) -> bool {
        let braced = self.peek_at(1) == Some(&Tok::Op('{'));
        let at = 1 + usize::from(braced);
        let hit = self.peek_at(at) == Some(&Tok::Op(mark))
            && (!braced || self.peek_at(at + 1) == Some(&Tok::Op('}')));
        if hit {
            self.pos += at + 1 + usize::from(braced);
        }
        hit
    }

    fn transposed(&mut self) -> bool {
        let braced = self.peek_at(1) == Some(&Tok::Op('{'));
        let at = 1 + usize::from(braced);
        let hit = matches!(self.peek_at(at), Some(Tok::Sym(t)) if t == "T")
            || self.peek_at(at) == Some(&Tok::Text("top".into()));
        if hit {
            self.pos += at + 1 + usize::from(braced);
        }
        hit
    }

    fn exponent(&mut self) -> Parsed {
        if self.eat('-') {
            return Ok(self.deeper(Self::exponent)?.neg());
        }
        self.eat('+');
        let base = self.deeper(Self::atom)?;
        if self.eat('^') {
            let exponent = self.deeper(Self::exponent)?;
            return Ok(Expr::pow(base, exponent));
        }
        Ok(base)
    }

    pub(super) fn atom(&mut self) -> Parsed {
        let Some(token) = self.toks.get(self.pos).cloned() else { return Err(ParseError::Syntax) };
        self.pos += 1;
        match token.tok {
            Tok::Num(number) => match token.digits.filter(|_| self.is_op('_')) {
                Some(digits) => self.based(digits),
                None => Ok(Expr::Num(number)),
            },
            Tok::Sym(name) => self.symbol(name),
            Tok::Name(name) => self.named(name),
            Tok::Text(word) => self.words(word),
            Tok::Begin(env) => self.deeper_env(&env),
            Tok::Op('(') => self.bracketed(false),
            Tok::Op('[') => self.bracketed(true),
            // ]a, b[: the bracket is turned away from what it excludes.
            Tok::Op(']') => self.bracketed(false),
            Tok::Op('{') => self.group(),
            Tok::Op('⦃') => self.set(),
            Tok::Op('|') => self.fenced('|', |e| Expr::call(Func::Abs, e)),
            Tok::Op('⌊') => self.fenced('⌋', |e| Expr::call(Func::Floor, e)),
            Tok::Op('⌈') => self.fenced('⌉', |e| Expr::call(Func::Ceil, e)),
            Tok::Op('√') => Ok(Expr::pow(self.deeper(Self::atom)?, Expr::half())),
            Tok::Op(c @ ('$' | '€' | '£' | '¥' | '₹')) => {
                let value = self.deeper(Self::signed)?;
                let unit = unit::lookup(&c.to_string()).ok_or(ParseError::Syntax)?;
                // "$5 million"
                let scale = self.word().and_then(|w| scale_zeros(&w));
                let value = match scale {
                    Some(zeros) => {
                        self.pos += 1;
                        Expr::mul(vec![value, Expr::pow(Expr::int(10), Expr::int(zeros))])
                    }
                    None => value,
                };
                Ok(Expr::quantity(value, unit))
            }
            Tok::Op('…') => Ok(Expr::Sym("…".into())),
            Tok::Op('&') => self.deeper(Self::atom),
            Tok::Op(_) | Tok::End(_) => Err(ParseError::Syntax),
        }
    }

    /// Runs `body` with the marks of what is around forgotten.
    pub(super) fn fresh<T>(&mut self, body: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        let saved = (self.bars, self.integrals, self.builders);
        (self.bars, self.integrals, self.builders) = (0, 0, 0);
        let result = body(self);
        (self.bars, self.integrals, self.builders) = saved;
        result
    }

    /// `(a)`, `(a, b]`, `[a; b)`. One item in any brackets is the item.
    fn bracketed(&mut self, square: bool) -> Parsed {
        let (items, closed) = self.fresh(|p| {
            let mut items = vec![];
            while !matches!(p.peek(), Some(Tok::Op(')' | ']' | '['))) || items.is_empty() && p.is_op('[') {
                if p.closes() && !items.is_empty() {
                    break;
                }
                items.push(p.deeper(Self::relation)?);
                let mut separated = false;
                while p.eat(',') || p.eat(';') || p.eat('␣') || p.eat('&') {
                    separated = true;
                }
                if !separated {
                    break;
                }
            }
            // ]a, b[ closes with an opening bracket.
            let closed = match p.peek() {
                Some(Tok::Op(')' | '[')) => false,
                Some(Tok::Op(']')) => true,
                _ => return Err(ParseError::Syntax),
            };
            p.pos += 1;
            Ok((items, closed))
        })?;
        Ok(match <[Expr; 1]>::try_from(items) {
            Ok([item]) => item,
            Err(items) => Expr::Seq { square: (square, closed), items },
        })
    }

    /// `{…}` of TeX: what is in it; several items side by side are meant as a set.
    fn group(&mut self) -> Parsed {
        if self.eat('}') {
            // {}_5C_2: an empty group carries nothing.
            return if self.is_op('_') || self.is_op('^') {
                self.deeper(Self::atom)
            } else {
                Ok(Expr::Set(vec![]))
            };
        }
        let inner = self.fresh(|p| p.list(false))?;
        self.expect('}')?;
        Ok(match inner {
            Expr::List(items) => Expr::Set(items),
            other => other,
        })
    }

    fn set(&mut self) -> Parsed {
        if self.eat('⦄') {
            return Ok(Expr::Space(Space::Empty));
        }
        let expr = self.fresh(|p| {
            p.builders += 1;
            let first = p.deeper(Self::relation)?;
            if p.eat('|') || p.eat('∣') || p.eat(':') {
                p.builders = 0;
                let condition = p.list(false)?;
                return Ok(Expr::Builder(Box::new(first), Box::new(condition)));
            }
            let mut items = vec![first];
            while p.eat(',') || p.eat(';') || p.eat('␣') {
                if p.is_op('⦄') {
                    break;
                }
                items.push(p.deeper(Self::relation)?);
            }
            Ok(Expr::Set(items))
        })?;
        self.expect('⦄')?;
        Ok(expr)
    }

    fn fenced(&mut self, close: char, wrap: fn(Expr) -> Expr) -> Parsed {
        let inner = self.fresh(|p| {
            p.bars = u32::from(close == '|');
            p.deeper(Self::relation)
        })?;
        self.expect(close)?;
        Ok(wrap(inner))
    }

    /// Words: a number written out, a lone letter, or text.
    fn words(&mut self, first: String) -> Parsed {
        if first.chars().count() == 1 && first.is_ascii() {
            return self.symbol(first);
        }
        let mut words = vec![first];
        while let Some(Tok::Text(next)) = self.peek() {
            words.push(next.clone());
            self.pos += 1;
        }
        let lower: Vec<String> = words.iter().map(|w| w.to_lowercase()).collect();
        if let Some((n, used)) = number_words(&lower) {
            self.pos -= words.len() - used;
            // "twenty-five" is one word to its writer.
            if let (true, Some(Tok::Op('-')), Some(Tok::Text(ones))) =
                (n % 10 == 0 && n % 100 >= 20, self.peek(), self.peek_at(1))
                && let Some((ones @ 1..=9, 1)) = number_words(&[ones.to_lowercase()])
            {
                self.pos += 2;
                return Ok(Expr::exact(num_rational::BigRational::from_integer((n + ones).into())));
            }
            let whole = Expr::exact(num_rational::BigRational::from_integer(n.into()));
            // "two thirds"
            let parts = self.word().and_then(|w| denominator(&w));
            return Ok(match parts {
                Some(parts) => {
                    self.pos += 1;
                    Expr::div(whole, Expr::int(parts))
                }
                None => whole,
            });
        }
        if lower == ["half"] {
            return Ok(Expr::half());
        }
        match lower[0].as_str() {
            "positive" | "negative" if lower.get(1).is_some_and(|w| w == "infinity") => {
                let inf = Expr::Const(Const::Inf);
                return Ok(if lower[0] == "negative" { inf.neg() } else { inf });
            }
            "and" | "or" => return Err(ParseError::Syntax),
            _ => {}
        }
        Ok(Expr::Text(words.join(" ")))
    }
}

/// A fraction of integers below one.
fn proper(fraction: &Expr) -> bool {
    let Expr::Mul(parts) = fraction else { return false };
    let [Expr::Num(a), Expr::Pow(b, _)] = &parts[..] else { return false };
    matches!(&**b, Expr::Num(b) if a.value < b.value && a.value.is_integer() && b.value.is_integer())
}

/// What a fraction's word divides by.
fn denominator(word: &str) -> Option<i64> {
    Some(match word.trim_end_matches('s') {
        "half" | "halve" => 2,
        "third" => 3,
        "quarter" | "fourth" => 4,
        "fifth" => 5,
        "sixth" => 6,
        "seventh" => 7,
        "eighth" => 8,
        "ninth" => 9,
        "tenth" => 10,
        "hundredth" => 100,
        _ => return None,
    })
}
