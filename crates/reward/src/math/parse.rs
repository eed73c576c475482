//! A Pratt parser from tokens to [`Expr`].
//!
//! Levels, loosest first: lists, relations, unions, ratios, sums, products (written and implied), signs, powers, atoms.
//! Every level that can call itself spends depth, so no text overflows the stack; atoms are in `atom`.

use super::expr::{Expr, RelOp};
use super::lex::{Commas, LexError, Tok, Token, lex};

/// Calls of one level by another; a bracket takes eight, so brackets nest about fifty deep.
const MAX_DEPTH: u32 = 400;
/// Levels of a finished tree, which postfix operators and left-leaning chains can add.
const MAX_TREE: usize = 160;

/// Why a text is no expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ParseError {
    /// Beyond the limits.
    Limit,
    /// No mathematics.
    Syntax,
}

pub(super) type Parsed<T = Expr> = Result<T, ParseError>;

pub(super) struct Parser {
    pub(super) toks: Vec<Token>,
    pub(super) pos: usize,
    pub(super) latex: bool,
    depth: u32,
    /// `|` closes an absolute value that is open.
    pub(super) bars: u32,
    /// `d` before a letter ends an integrand.
    pub(super) integrals: u32,
    /// `|` and `:` end an item of a set.
    pub(super) builders: u32,
}

/// Parses a whole answer. `latex`: it stood in a LaTeX environment.
pub(crate) fn parse(text: &str, latex: bool, commas: Commas) -> Parsed {
    let toks = lex(text, latex, commas).map_err(|e| match e {
        LexError::Limit => ParseError::Limit,
        LexError::Stray => ParseError::Syntax,
    })?;
    let latex = latex || text.contains('\\');
    let mut parser = Parser { toks, pos: 0, latex, depth: 0, bars: 0, integrals: 0, builders: 0 };
    parser.trim();
    let expr = parser.list(true)?;
    match parser.pos == parser.toks.len() {
        true if expr.depth() > MAX_TREE => Err(ParseError::Limit),
        true if expr.any(&|e| arithmetic(e) && e.children().iter().any(|c| matches!(c, Expr::Text(_)))) => {
            Err(ParseError::Syntax)
        }
        true => Ok(expr),
        false => Err(ParseError::Syntax),
    }
}

/// Words are no operands: "Answer (9)" is a sentence, not a product.
fn arithmetic(e: &Expr) -> bool {
    matches!(
        e,
        Expr::Add(_)
            | Expr::Mul(_)
            | Expr::Pow(..)
            | Expr::Call(..)
            | Expr::Ratio(_)
            | Expr::PlusMinus(_)
            | Expr::Percent(_)
    )
}

impl Parser {
    /// Marks at the edges that belong to the sentence, not to the answer.
    fn trim(&mut self) {
        while matches!(self.toks.last().map(|t| &t.tok), Some(Tok::Op('.' | ',' | ';' | ':' | '␣' | '↵')))
        {
            self.toks.pop();
        }
        while matches!(
            self.toks.get(self.pos).map(|t| &t.tok),
            Some(Tok::Op('.' | ',' | ':' | '␣' | '↵' | '⇒' | '='))
        ) {
            self.pos += 1;
        }
    }

    pub(super) fn peek(&self) -> Option<&Tok> {
        self.toks.get(self.pos).map(|t| &t.tok)
    }

    pub(super) fn peek_at(&self, ahead: usize) -> Option<&Tok> {
        self.toks.get(self.pos + ahead).map(|t| &t.tok)
    }

    pub(super) fn is_op(&self, op: char) -> bool {
        self.peek() == Some(&Tok::Op(op))
    }

    pub(super) fn eat(&mut self, op: char) -> bool {
        let hit = self.is_op(op);
        self.pos += usize::from(hit);
        hit
    }

    pub(super) fn expect(&mut self, op: char) -> Parsed<()> {
        if self.eat(op) { Ok(()) } else { Err(ParseError::Syntax) }
    }

    pub(super) fn word(&self) -> Option<String> {
        match self.peek() {
            Some(Tok::Text(word)) => Some(word.to_lowercase()),
            _ => None,
        }
    }

    fn eat_word(&mut self, words: &[&str]) -> bool {
        let hit = self.word().is_some_and(|w| words.contains(&w.as_str()));
        self.pos += usize::from(hit);
        hit
    }

    /// Runs `level` one nesting deeper.
    pub(super) fn deeper(&mut self, level: fn(&mut Self) -> Parsed) -> Parsed {
        if self.depth >= MAX_DEPTH {
            return Err(ParseError::Limit);
        }
        self.depth += 1;
        let result = level(self);
        self.depth -= 1;
        result
    }

    /// Items separated by commas, semicolons, "and", "or", wide gaps or rows.
    pub(super) fn list(&mut self, top: bool) -> Parsed {
        let mut items = vec![self.deeper(Self::relation)?];
        let mut joins = vec![];
        loop {
            let mark = self.pos;
            let mut separated = false;
            loop {
                let join = self.word().filter(|w| w == "and" || w == "or");
                let mark = [',', ';', '␣', '↵', '&'].into_iter().any(|c| self.eat(c));
                if !mark && !self.eat_word(&["and", "or", "et", "und", "ou", "oder", "y", "o"]) {
                    break;
                }
                joins.extend(join);
                separated = true;
            }
            // A conclusion replaces what it is drawn from.
            if top && self.eat('⇒') {
                while self.eat('␣') || self.eat('↵') {}
                items = vec![self.deeper(Self::relation)?];
                continue;
            }
            if !separated || self.peek().is_none() || self.closes() {
                if !separated {
                    self.pos = mark;
                }
                break;
            }
            items.push(self.deeper(Self::relation)?);
        }
        // Inequalities joined by words are one condition: x < 1 or x > 3.
        let ordered =
            |e: &Expr| matches!(e, Expr::Rel(_, ops) if ops.iter().all(|o| o.is_order() || *o == RelOp::Ne));
        let condition = items.len() > 1 && items.iter().all(ordered) && joins.len() + 1 == items.len();
        Ok(match joins.first().map(String::as_str) {
            _ if items.len() == 1 => items.remove(0),
            Some("or") if condition && joins.iter().all(|j| j == "or") => Expr::Union(items),
            Some("and") if condition && joins.iter().all(|j| j == "and") => Expr::Inter(items),
            _ => Expr::List(items),
        })
    }

    pub(super) fn closes(&self) -> bool {
        matches!(self.peek(), Some(Tok::Op(')' | ']' | '⦄' | '}' | '⌋' | '⌉') | Tok::End(_)))
    }

    /// `a < b ≤ c`, `x = y = z`.
    pub(super) fn relation(&mut self) -> Parsed {
        let mut sides = vec![self.deeper(Self::union)?];
        let mut ops = vec![];
        while let Some(op) = self.rel_op() {
            // "x ≠" with nothing after it is an unfinished answer.
            self.eat('&');
            sides.push(self.deeper(Self::union)?);
            ops.push(op);
        }
        Ok(if ops.is_empty() { sides.remove(0) } else { Expr::Rel(sides, ops) })
    }

    fn rel_op(&mut self) -> Option<RelOp> {
        let ahead = usize::from(self.is_op('&'));
        let op = match self.peek_at(ahead)? {
            Tok::Op('=') => RelOp::Eq,
            Tok::Op('≠') => RelOp::Ne,
            Tok::Op('<') => RelOp::Lt,
            Tok::Op('≤') => RelOp::Le,
            Tok::Op('>') => RelOp::Gt,
            Tok::Op('≥') => RelOp::Ge,
            Tok::Op('≈') => RelOp::Approx,
            Tok::Op('∈') => RelOp::In,
            Tok::Op('∉') => RelOp::NotIn,
            Tok::Op('≡' | '⊂' | '⊆' | '→') => RelOp::Other,
            Tok::Text(w) if w == "in" && self.peek_at(1).is_some() => RelOp::In,
            _ => return None,
        };
        self.pos += ahead + 1;
        Some(op)
    }

    /// `A ∪ B`, `A ∩ B`, `A ∖ B`; a plain `U` between brackets is a union too.
    fn union(&mut self) -> Parsed {
        let mut left = self.deeper(Self::ratio)?;
        loop {
            let letter_u =
                self.between_brackets() && matches!(self.peek(), Some(Tok::Sym(u)) if u == "U" || u == "u");
            if letter_u || self.is_op('∪') {
                self.pos += 1;
                let right = self.deeper(Self::ratio)?;
                left = match left {
                    Expr::Union(mut items) => {
                        items.push(right);
                        Expr::Union(items)
                    }
                    first => Expr::Union(vec![first, right]),
                };
            } else if self.eat('∩') {
                left = Expr::Inter(vec![left, self.deeper(Self::ratio)?]);
            } else if self.eat('∖') {
                left = Expr::Minus(Box::new(left), Box::new(self.deeper(Self::ratio)?));
            } else {
                return Ok(left);
            }
        }
    }

    /// `a : b : c`
    fn ratio(&mut self) -> Parsed {
        let first = self.deeper(Self::sum)?;
        if !self.is_op(':') || self.builders > 0 {
            return Ok(first);
        }
        let mut items = vec![first];
        while self.eat(':') {
            items.push(self.deeper(Self::sum)?);
        }
        Ok(Expr::Ratio(items))
    }

    /// `a + b − c ± d`
    pub(super) fn sum(&mut self) -> Parsed {
        let mut items = vec![];
        let mut mark = None;
        loop {
            let term = match mark {
                None => self.deeper(Self::product)?,
                Some(op) => {
                    let term = self.deeper(Self::product)?;
                    match op {
                        '-' => term.neg(),
                        '±' => Expr::PlusMinus(Box::new(term)),
                        '∓' => Expr::PlusMinus(Box::new(term)).neg(),
                        _ => term,
                    }
                }
            };
            items.push(term);
            mark = match self.peek() {
                Some(Tok::Op(c @ ('+' | '-' | '±' | '∓'))) => Some(*c),
                _ => break,
            };
            self.pos += 1;
        }
        Ok(Expr::add(items))
    }

    /// `a * b / c`, `2x`, `3(x + 1)`, `a mod n`
    pub(super) fn product(&mut self) -> Parsed {
        let mut items = vec![self.deeper(Self::signed)?];
        loop {
            if self.eat('*') {
                items.push(self.deeper(Self::signed)?);
            } else if self.eat('/') {
                let divisor = self.deeper(Self::signed)?;
                items.push(Expr::pow(divisor, Expr::int(-1)));
            } else if self.residue() {
                let modulus = self.deeper(Self::signed)?;
                self.eat(')');
                items = vec![Expr::Opaque("residue".into(), vec![Expr::mul(items), modulus])];
            } else if self.peek() == Some(&Tok::Name("mod")) {
                self.pos += 1;
                let modulus = self.deeper(Self::signed)?;
                let left = Expr::mul(std::mem::take(&mut items));
                items.push(Expr::Call(super::expr::Func::Mod, vec![left, modulus]));
            } else if let Some(quantity) = self.unit_suffix(&mut items)? {
                items = vec![quantity];
            } else if self.mixed(&mut items)? {
            } else if self.begins_factor() {
                items.push(self.deeper(Self::power)?);
            } else {
                return Ok(Expr::mul(items));
            }
        }
    }

    /// `\pmod 5` or `(mod 5)`: consumed up to the modulus.
    fn residue(&mut self) -> bool {
        let bracket = self.is_op('(') && self.peek_at(1) == Some(&Tok::Name("mod"));
        let hit = bracket || self.peek() == Some(&Tok::Name("pmod"));
        self.pos += usize::from(hit) + usize::from(bracket);
        hit
    }

    /// `-a`, `+a`, `±a`, `¬` is not mathematics of answers.
    pub(super) fn signed(&mut self) -> Parsed {
        let minus = self.word().is_some_and(|w| w == "minus" || w == "negative")
            && !matches!(self.peek_at(1), Some(Tok::Text(w)) if w == "infinity");
        if self.eat('-') || (minus && self.eat_word(&["minus", "negative"])) {
            return Ok(self.deeper(Self::signed)?.neg());
        }
        if self.eat('+') {
            return self.deeper(Self::signed);
        }
        if self.eat('±') {
            return Ok(Expr::PlusMinus(Box::new(self.deeper(Self::signed)?)));
        }
        if self.eat('∓') {
            return Ok(Expr::PlusMinus(Box::new(self.deeper(Self::signed)?)).neg());
        }
        self.deeper(Self::power)
    }
}
