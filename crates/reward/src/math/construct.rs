//! Symbols, functions and the constructions of LaTeX: fractions, roots, bases.

use num_bigint::BigInt;
use num_traits::Zero;

use super::calculus;
use super::expr::{Const, Expr, Func, Space, rat};
use super::lex::Tok;
use super::parse::{ParseError, Parsed, Parser};

/// Functions of one argument that may go without brackets.
fn one_argument(name: &str) -> Option<Func> {
    use Func::*;
    Some(match name {
        "sin" => Sin,
        "cos" => Cos,
        "tan" => Tan,
        "cot" => Cot,
        "sec" => Sec,
        "csc" => Csc,
        "arcsin" => Asin,
        "arccos" => Acos,
        "arctan" => Atan,
        "arccot" => Acot,
        "arcsec" => Asec,
        "arccsc" => Acsc,
        "sinh" => Sinh,
        "cosh" => Cosh,
        "tanh" => Tanh,
        "coth" => Coth,
        "sech" => Sech,
        "csch" => Csch,
        "arcsinh" => Asinh,
        "arccosh" => Acosh,
        "arctanh" => Atanh,
        "exp" => Exp,
        "ln" | "log" | "lg" | "lb" => Ln,
        "abs" => Abs,
        "floor" => Floor,
        "ceil" => Ceil,
        "sign" => Sign,
        "factorial" => Factorial,
        "conj" => Conj,
        _ => return None,
    })
}

fn inverse(f: Func) -> Option<Func> {
    use Func::*;
    Some(match f {
        Sin => Asin,
        Cos => Acos,
        Tan => Atan,
        Cot => Acot,
        Sec => Asec,
        Csc => Acsc,
        Sinh => Asinh,
        Cosh => Acosh,
        Tanh => Atanh,
        _ => return None,
    })
}

impl Parser {
    /// A letter with its subscript and primes; e, i and functions f, g, h.
    pub(super) fn symbol(&mut self, mut name: String) -> Parsed {
        if self.eat('_') {
            name.push('_');
            name.push_str(&self.subscript()?);
        }
        while self.eat('\'') {
            name.push('\'');
        }
        // f^{-1}(x)
        let inverse = ['^', '{', '-'].iter().enumerate().all(|(i, c)| self.peek_at(i) == Some(&Tok::Op(*c)))
            && matches!(self.peek_at(3), Some(Tok::Num(n)) if n.value == rat(1))
            && (self.peek_at(4), self.peek_at(5)) == (Some(&Tok::Op('}')), Some(&Tok::Op('(')));
        if inverse && matches!(name.as_str(), "f" | "g" | "h") {
            name.push_str("⁻¹");
            self.pos += 5;
        }
        let called =
            matches!(name.trim_end_matches(['\'', '⁻', '¹']).split('_').next(), Some("f" | "g" | "h"));
        if called && self.is_op('(') && !self.toks[self.pos].space {
            self.pos += 1;
            return Ok(Expr::Opaque(name, self.arguments()?));
        }
        Ok(match name.as_str() {
            "e" => Expr::Const(Const::E),
            "i" => Expr::Const(Const::I),
            _ => Expr::Sym(name),
        })
    }

    /// The text of a subscript.
    fn subscript(&mut self) -> Parsed<String> {
        let mut text = String::new();
        if self.eat('{') {
            let mut depth = 1;
            while let Some(token) = self.toks.get(self.pos) {
                self.pos += 1;
                match &token.tok {
                    Tok::Op('{') => depth += 1,
                    Tok::Op('}') => depth -= 1,
                    other => text.push_str(&spell(other, token.digits.as_deref())),
                }
                if depth == 0 {
                    return Ok(text);
                }
            }
            return Err(ParseError::Syntax);
        }
        let token = self.toks.get(self.pos).ok_or(ParseError::Syntax)?;
        self.pos += 1;
        Ok(spell(&token.tok, token.digits.as_deref()))
    }

    /// `204_5`, `204_{(5)}`, `204_{\text{five}}`: digits in a base.
    pub(super) fn based(&mut self, digits: String) -> Parsed {
        self.pos += 1;
        let text = self.subscript()?.to_lowercase();
        let text = text.trim_matches(['(', ')']);
        let word = crate::words::number_words(&[text]).map(|(n, _)| n);
        let base =
            text.parse::<u64>().ok().or(word).filter(|b| (2..=36).contains(b)).ok_or(ParseError::Syntax)?
                as u32;
        let value = BigInt::parse_bytes(digits.as_bytes(), base).ok_or(ParseError::Syntax)?;
        Ok(Expr::Based(digits.trim_start_matches('0').to_owned(), value, base))
    }

    /// `a, b)` after an opening bracket.
    pub(super) fn arguments(&mut self) -> Parsed<Vec<Expr>> {
        let mut items = vec![];
        if self.eat(')') {
            return Ok(items);
        }
        self.fresh(|p| {
            loop {
                items.push(p.deeper(Self::relation)?);
                if !(p.eat(',') || p.eat(';')) {
                    return p.expect(')');
                }
            }
        })?;
        Ok(items)
    }

    /// The argument of a TeX command: a group, one digit of a number, or one atom.
    pub(super) fn argument(&mut self) -> Parsed {
        if let Some(token) = self.toks.get(self.pos)
            && let (Tok::Num(number), Some(digits)) = (&token.tok, &token.digits)
            && digits.len() > 1
        {
            // \frac12 is a half: TeX takes one digit, the rest stays.
            let first = i64::from(digits.as_bytes()[0] - b'0');
            let rest = digits[1..].to_owned();
            let mut number = number.clone();
            number.value =
                num_rational::BigRational::from_integer(rest.parse().unwrap_or_else(|_| BigInt::zero()));
            let token = &mut self.toks[self.pos];
            token.tok = Tok::Num(number);
            token.digits = Some(rest);
            token.space = false;
            return Ok(Expr::int(first));
        }
        self.deeper(Self::atom)
    }

    pub(super) fn named(&mut self, name: &'static str) -> Parsed {
        if let Some(f) = one_argument(name) {
            return self.function(name, f);
        }
        let space = |s| Ok(Expr::Space(s));
        match name {
            "pi" => Ok(Expr::Const(Const::Pi)),
            "infty" => Ok(Expr::Const(Const::Inf)),
            "emptyset" => space(Space::Empty),
            "reals" => space(Space::Reals),
            "integers" => space(Space::Integers),
            "naturals" => space(Space::Naturals),
            "rationals" => space(Space::Rationals),
            "complexes" => space(Space::Complexes),
            "frac" => self.fraction(),
            "sqrt" => self.root(),
            "cbrt" => Ok(Expr::Call(Func::Root, vec![self.argument()?, Expr::int(3)])),
            "binom" => {
                let args =
                    if self.eat('(') { self.arguments()? } else { vec![self.argument()?, self.argument()?] };
                Ok(Expr::Call(Func::Binomial, args))
            }
            "gcd" | "lcm" | "max" | "min" | "mod" | "root" | "Eq" => self.many(name),
            "pmod" => Err(ParseError::Syntax),
            "overline" => self.overlined(),
            "sum" | "prod" => self.range(name == "prod"),
            "int" => self.integral(),
            "lim" => self.limit(),
            "det" => Ok(Expr::Opaque("det".into(), vec![self.argument()?])),
            "partial" => self.symbol("∂".into()),
            _ => Err(ParseError::Syntax),
        }
    }

    /// `\sin^2 x`, `\log_2 8`, `\sin^{-1}(x)`, `\ln x^2`.
    fn function(&mut self, name: &str, f: Func) -> Parsed {
        let mut base = match name {
            "lg" => Some(Expr::int(10)),
            "lb" => Some(Expr::int(2)),
            _ => None,
        };
        let mut exponent = None;
        loop {
            if f == Func::Ln && self.eat('_') {
                base = Some(self.argument()?);
            } else if self.eat('^') {
                exponent = Some(self.argument_or_signed()?);
            } else {
                break;
            }
        }
        // "log2(8)" and "log10(x)".
        if name == "log"
            && base.is_none()
            && !self.latex
            && let (Some(Tok::Num(n)), Some(Tok::Op('('))) = (self.peek(), self.peek_at(1))
            && !self.toks[self.pos].space
            && (n.value == rat(2) || n.value == rat(10))
        {
            base = Some(Expr::Num(n.clone()));
            self.pos += 1;
        }
        let mut args = self.operand()?;
        if f == Func::Ln && base.is_none() && args.len() == 2 {
            base = args.pop();
        }
        if args.len() != 1 {
            return Err(ParseError::Syntax);
        }
        let minus_one = matches!(&exponent, Some(Expr::Num(n)) if n.value == rat(-1));
        let call = match (inverse(f), minus_one) {
            (Some(inverse), true) => {
                exponent = None;
                Expr::Call(inverse, args)
            }
            _ => Expr::Call(f, args),
        };
        let call = match base {
            Some(base) => Expr::div(call, Expr::call(Func::Ln, base)),
            None => call,
        };
        Ok(exponent.map_or(call.clone(), |e| Expr::pow(call, e)))
    }

    pub(super) fn argument_or_signed(&mut self) -> Parsed {
        if self.eat('-') {
            return Ok(self.argument()?.neg());
        }
        self.argument()
    }

    /// What a function is applied to: brackets, or the factors up to the next function or sign.
    fn operand(&mut self) -> Parsed<Vec<Expr>> {
        if self.eat('(') {
            return self.arguments();
        }
        if self.eat('-') {
            return Ok(vec![self.deeper(Self::power)?.neg()]);
        }
        let mut items = vec![self.deeper(Self::power)?];
        loop {
            let function = matches!(self.peek(), Some(Tok::Name(n)) if one_argument(n).is_some());
            let bracket = matches!(self.peek(), Some(Tok::Op('(' | '[' | '|' | '{')));
            if self.is_op('/') && self.latex && matches!(self.peek_at(1), Some(Tok::Num(_) | Tok::Sym(_))) {
                self.pos += 1;
                items.push(Expr::pow(self.deeper(Self::power)?, Expr::int(-1)));
            } else if self.begins_factor() && !function && !bracket {
                items.push(self.deeper(Self::power)?);
            } else {
                return Ok(vec![Expr::mul(items)]);
            }
        }
    }

    fn many(&mut self, name: &str) -> Parsed {
        let mut args = match self.peek() {
            Some(Tok::Op('(')) => {
                self.pos += 1;
                self.arguments()?
            }
            _ => match self.argument()? {
                Expr::Set(items) => items,
                other => vec![other],
            },
        };
        // max{a, b}
        if let [Expr::Set(items)] = &args[..] {
            args = items.clone();
        }
        let f = match (name, args.len()) {
            ("Eq", 2) => return Ok(Expr::Rel(args, vec![super::expr::RelOp::Eq])),
            ("gcd", _) => Func::Gcd,
            ("lcm", _) => Func::Lcm,
            ("max", _) => Func::Max,
            ("min", _) => Func::Min,
            ("mod", 2) => Func::Mod,
            ("root", 2) => Func::Root,
            _ => return Err(ParseError::Syntax),
        };
        Ok(Expr::Call(f, args))
    }

    /// `\frac{a}{b}`, `\frac12`, and `\frac{d}{dx} f`.
    fn fraction(&mut self) -> Parsed {
        let differential = |t: Option<&Tok>| match t {
            Some(Tok::Sym(d)) => d == "d" || d == "∂",
            Some(Tok::Name(n)) => *n == "partial",
            _ => false,
        };
        let braces = [0, 2, 3, 6].map(|i| self.peek_at(i).cloned());
        let derivative = braces
            == [Some(Tok::Op('{')), Some(Tok::Op('}')), Some(Tok::Op('{')), Some(Tok::Op('}'))]
            && differential(self.peek_at(1))
            && differential(self.peek_at(4));
        if derivative && let Some(Tok::Sym(var)) = self.peek_at(5).cloned() {
            self.pos += 7;
            let body = self.deeper(Self::product)?;
            let derived = calculus::derivative(&body, &var);
            return Ok(
                derived.unwrap_or_else(|| Expr::Opaque("derivative".into(), vec![body, Expr::Sym(var)]))
            );
        }
        if self.eat('(') {
            // \frac(a)(b) and Rational-like \frac(a, b)
            let args = self.arguments()?;
            return match <[Expr; 2]>::try_from(args) {
                Ok([a, b]) => Ok(Expr::div(a, b)),
                Err(mut args) if args.len() == 1 => Ok(Expr::div(args.remove(0), self.argument()?)),
                Err(_) => Err(ParseError::Syntax),
            };
        }
        let (a, b) = (self.argument()?, self.argument()?);
        Ok(Expr::div(a, b))
    }

    /// `\sqrt{x}`, `\sqrt[3]{x}`, `sqrt(x)`, `\sqrt2`.
    fn root(&mut self) -> Parsed {
        let index = if self.eat('[') {
            let index = self.fresh(|p| p.deeper(Self::relation))?;
            self.expect(']')?;
            Some(index)
        } else {
            None
        };
        let radicand = self.argument()?;
        Ok(match index {
            Some(Expr::Num(n)) if n.value == rat(2) => Expr::pow(radicand, Expr::half()),
            Some(index) => Expr::Call(Func::Root, vec![radicand, index]),
            None => Expr::pow(radicand, Expr::half()),
        })
    }

    /// `\overline{z}` of one letter is the conjugate; of several the name of a segment; of digits a numeral `\overline{ab}`.
    fn overlined(&mut self) -> Parsed {
        let inner = self.argument()?;
        Ok(match &inner {
            Expr::Sym(_) => Expr::call(Func::Conj, inner),
            _ => Expr::Opaque("overline".into(), vec![inner]),
        })
    }
}

/// A token as it is written in a name.
fn spell(tok: &Tok, digits: Option<&str>) -> String {
    match tok {
        Tok::Num(n) => digits.map_or_else(|| super::expr::show_rat(&n.value), str::to_owned),
        Tok::Sym(s) | Tok::Text(s) | Tok::Begin(s) | Tok::End(s) => s.clone(),
        Tok::Name(s) => (*s).to_owned(),
        Tok::Op(c) => c.to_string(),
    }
}
