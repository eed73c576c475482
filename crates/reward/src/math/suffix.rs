//! What follows a value: units, percent signs, scales ("million"), nouns.

use super::expr::Expr;
use super::lex::Tok;
use super::parse::{Parsed, Parser};
use super::unit::{self, Unit};

impl Parser {
    pub(super) fn degree_unit(&mut self) -> Unit {
        let letter = match self.peek() {
            Some(Tok::Sym(s)) if s == "C" || s == "F" => s.clone(),
            Some(Tok::Text(s)) if matches!(s.as_str(), "C" | "F") => s.clone(),
            _ => String::new(),
        };
        match unit::degrees(&letter) {
            Some(unit) => {
                self.pos += 1;
                unit
            }
            None => unit::lookup("degree").unwrap_or_else(|| Unit::noun("degree")),
        }
    }

    /// Words after a value: a unit, a percent, a scale, or what is counted.
    pub(super) fn unit_suffix(&mut self, items: &mut Vec<Expr>) -> Parsed<Option<Expr>> {
        let symbol = match self.peek() {
            Some(Tok::Op(c @ ('$' | '€' | '£' | '¥' | '₹'))) => Some(c.to_string()),
            // "10 m" in plain text and "10m²", as no one writes a product; "5t" and "3h" are products.
            Some(Tok::Sym(s))
                if !self.latex
                    && self.ends_after(1)
                    && (self.toks[self.pos].space || self.peek_at(2) == Some(&Tok::Op('{'))) =>
            {
                let number = self.pos > 0 && matches!(self.toks[self.pos - 1].tok, Tok::Num(_));
                (number && matches!(s.as_str(), "m" | "s" | "g" | "h" | "L" | "N" | "J" | "W" | "V"))
                    .then(|| s.clone())
            }
            Some(Tok::Text(word)) => Some(word.clone()),
            // "60 min", not a minimum.
            Some(Tok::Name("min")) if self.ends_after(1) => {
                self.toks[self.pos].tok = Tok::Text("min".into());
                Some("min".to_owned())
            }
            _ => None,
        };
        let Some(word) = symbol else { return Ok(None) };
        let lower = word.to_lowercase();
        match lower.as_str() {
            // Inches at the end of an answer; elsewhere the preposition.
            "in" if self.ends_after(1)
                && matches!(self.toks[self.pos.saturating_sub(1)].tok, Tok::Num(_)) =>
            {
                self.toks[self.pos].tok = Tok::Text("inch".into());
            }
            "and" | "or" | "et" | "und" | "if" | "when" | "where" | "for" | "is" | "are" | "in" | "y"
            | "ou" => return Ok(None),
            "percent" | "pct" | "percentage" | "percents" | "per"
                if lower != "per" || self.next_word_is("cent") =>
            {
                self.pos += 1 + usize::from(lower == "per");
                self.eat_words(&["points", "point"]);
                return Ok(Some(Expr::Percent(Box::new(Expr::mul(std::mem::take(items))))));
            }
            _ => {}
        }
        if let Some(zeros) = scale_zeros(&lower) {
            self.pos += 1;
            items.push(Expr::pow(Expr::int(10), Expr::int(zeros)));
            return Ok(None);
        }
        if word.chars().count() == 1
            && word.is_ascii()
            && !matches!(self.peek(), Some(Tok::Op(_)))
            && unit::lookup(&word).is_none()
        {
            return Ok(None);
        }
        let Some(unit) = self.unit() else { return Ok(None) };
        let value = Expr::mul(std::mem::take(items));
        Ok(Some(match value {
            Expr::Quantity(inner, first) => Expr::quantity(*inner, first.times(&unit, 1)),
            value => Expr::quantity(value, unit),
        }))
    }

    fn next_word_is(&self, word: &str) -> bool {
        matches!(self.peek_at(1), Some(Tok::Text(w)) if w == word)
    }

    fn eat_words(&mut self, words: &[&str]) {
        if self.word().is_some_and(|w| words.contains(&w.as_str())) {
            self.pos += 1;
        }
    }

    /// Whether the answer, or its item, ends `ahead` tokens on, or a unit goes on there.
    fn ends_after(&self, ahead: usize) -> bool {
        matches!(self.peek_at(ahead), None | Some(Tok::Op('^' | '/' | '.' | ',' | ')' | '*')))
    }

    /// `square metres`, `m/s^2`, `miles per hour`, `red apples`.
    fn unit(&mut self) -> Option<Unit> {
        let mut unit = self.unit_factor(true)?;
        loop {
            let mark = self.pos;
            let power = match self.peek() {
                Some(Tok::Op('/')) => -1,
                Some(Tok::Op('*')) => 1,
                Some(Tok::Text(w)) if w == "per" || w == "a" => -1,
                Some(Tok::Text(_) | Tok::Sym(_)) => 0,
                _ => break,
            };
            self.pos += usize::from(power != 0);
            match self.unit_factor(power == -1 || unit.noun.is_some()) {
                Some(next) if power == 0 && unit.noun.is_some() && next.noun.is_some() => {
                    let words = [unit.noun.take(), next.noun].into_iter().flatten().collect::<Vec<_>>();
                    unit.noun = Some(words.join(" "));
                }
                Some(next) if next.noun.is_none() || power == -1 => {
                    unit = unit.times(&next, if power == 0 { 1 } else { power })
                }
                _ => {
                    self.pos = mark;
                    break;
                }
            }
        }
        Some(unit)
    }

    /// One unit with its power; `nouns`: any other word will do.
    fn unit_factor(&mut self, nouns: bool) -> Option<Unit> {
        let (word, power) = match (self.peek()?, self.peek_at(1)) {
            (Tok::Text(p), Some(Tok::Text(w))) => match p.to_lowercase().as_str() {
                "square" | "sq" | "squared" => (w.clone(), 2),
                "cubic" | "cu" => (w.clone(), 3),
                _ => (p.clone(), 1),
            },
            (Tok::Text(w), _) => (w.clone(), 1),
            (Tok::Sym(s), _) => (s.clone(), 1),
            (Tok::Op(c @ ('$' | '€' | '£' | '¥' | '₹')), _) => (c.to_string(), 1),
            _ => return None,
        };
        let symbol = matches!(self.peek(), Some(Tok::Sym(_)));
        let found = unit::lookup(&word);
        let lower = word.to_lowercase();
        let stops = [
            "and", "or", "if", "when", "where", "because", "since", "is", "are", "so", "that", "which",
            "not", "but",
        ];
        let base = match found {
            Some(unit) => unit,
            None if nouns && !symbol && word.chars().count() > 1 && !stops.contains(&lower.as_str()) => {
                Unit::noun(&word)
            }
            None => return None,
        };
        self.pos += if power > 1 { 2 } else { 1 };
        if matches!(lower.as_str(), "degree" | "degrees") {
            let temperature = self.word().and_then(|w| match w.as_str() {
                "c" | "celsius" => unit::degrees("C"),
                "f" | "fahrenheit" => unit::degrees("F"),
                _ => None,
            });
            if let Some(unit) = temperature {
                self.pos += 1;
                return Some(unit);
            }
        }
        let power = self.unit_power().unwrap_or(power);
        Some(if power == 1 { base } else { unit::lookup(&word).unwrap_or(base).power(power) })
    }

    /// `^2`, `^{-1}`, or the word "squared".
    fn unit_power(&mut self) -> Option<i32> {
        if self.word().is_some_and(|w| w == "squared" || w == "cubed") {
            let power = if self.word().as_deref() == Some("squared") { 2 } else { 3 };
            self.pos += 1;
            return Some(power);
        }
        if !self.is_op('^') {
            return None;
        }
        let mut at = 1;
        let braced = self.peek_at(at) == Some(&Tok::Op('{'));
        at += usize::from(braced);
        let negative = self.peek_at(at) == Some(&Tok::Op('-'));
        at += usize::from(negative);
        let Some(Tok::Num(n)) = self.peek_at(at) else { return None };
        let power =
            i32::try_from(n.value.is_integer().then(|| n.value.to_integer())?).ok().filter(|p| *p < 10)?;
        if braced && self.peek_at(at + 1) != Some(&Tok::Op('}')) {
            return None;
        }
        self.pos += at + 1 + usize::from(braced);
        Some(if negative { -power } else { power })
    }
}

pub(super) fn scale_zeros(word: &str) -> Option<i64> {
    Some(match word {
        "hundred" => 2,
        "thousand" => 3,
        "million" => 6,
        "billion" => 9,
        "trillion" => 12,
        _ => return None,
    })
}
