//! Numbers as they are written: thousands in five styles, repeating decimals, exponents, decimal commas.

use num_bigint::BigInt;
use num_traits::{Pow, Zero};

use super::expr::{Number, Rat};
use super::lex::{Commas, LexError, Lexer, Tok, Token};

/// Digits of one number. Rational arithmetic on what is longer is no longer cheap.
const MAX_DIGITS: usize = 1000;

impl Lexer<'_> {
    /// A number with its grouping, decimals, repetition and exponent.
    pub(super) fn number(&mut self) -> Result<(), LexError> {
        let start = self.at;
        let mut int = self.digits();
        if self.commas != Commas::Separate && self.commas != Commas::Decimal || !self.rest().starts_with(',')
        {
            self.groups(&mut int);
        }
        let mut frac = None;
        let mut repeat = String::new();
        let point = self.rest().starts_with('.')
            || (self.commas == Commas::Decimal && self.rest().starts_with(',') && next_digit(self.rest(), 1));
        if point {
            let mark = self.at;
            self.at += 1;
            let digits = self.digits();
            repeat = self.repeating();
            if digits.is_empty() && repeat.is_empty() {
                self.at = mark;
            } else {
                frac = Some(digits);
            }
        }
        if frac.is_none() && int.is_empty() {
            self.at = start + 1;
            return Err(LexError::Stray);
        }
        let mut number = value(&int, frac.as_deref(), &repeat)?;
        if let Some(digits) = frac.as_deref().filter(|_| repeat.is_empty() && self.eat_dots()) {
            // 0.333… repeats; 3.14… is only the beginning of something.
            if let Some(period) = period(digits) {
                number = value(
                    &int,
                    Some(&digits[..digits.len() - period.len() * (digits.len() / period.len())]),
                    period,
                )?;
            }
        }
        self.exponent(&mut number);
        let digits = (number.places.is_none() && repeat.is_empty()).then_some(int);
        let space = std::mem::take(&mut self.space);
        self.out.push(Token { tok: Tok::Num(number), space, digits });
        Ok(())
    }

    fn digits(&mut self) -> String {
        let len = self.rest().bytes().take_while(u8::is_ascii_digit).count();
        let digits = self.rest()[..len].to_owned();
        self.at += len;
        digits
    }

    /// Thousands: `1,234`, `1{,}234`, `1\,234`, `1,\! 234`, `1 234`, `1'234`.
    fn groups(&mut self, int: &mut String) {
        const MARKS: [&str; 10] = [",\\!", "{,}", "{, }", " {, }", "\\,", "\\!", ",", "'", " ", "\\ "];
        if int.is_empty() || int.len() > 3 {
            return;
        }
        loop {
            let rest = self.rest();
            let group = MARKS.iter().find_map(|mark| {
                let after = rest.strip_prefix(mark)?;
                let after =
                    if mark.contains('\\') || mark.contains('{') { after.trim_start() } else { after };
                let digits = after.bytes().take_while(u8::is_ascii_digit).count();
                if digits != 3 {
                    return None;
                }
                let blank = *mark == " " || *mark == ",";
                let bracketed = self.depth > 0 && !self.latex_group_only();
                let allowed = match *mark {
                    // In brackets a comma separates, unless no one would write the second number with leading zeros.
                    "," => !bracketed || (after.starts_with('0') && *int != "0"),
                    " " => !self.latex && !bracketed,
                    _ => true,
                };
                (allowed && !(blank && int.starts_with('0'))).then(|| (rest.len() - after.len(), &after[..3]))
            });
            let Some((skip, digits)) = group else { break };
            int.push_str(digits);
            self.at += skip + 3;
        }
    }

    /// Inside nothing but TeX groups, such as `\boxed{1,234}`: no bracket is open.
    fn latex_group_only(&self) -> bool {
        let mut depth = 0i32;
        for token in &self.out {
            match token.tok {
                Tok::Op('(' | '[' | '⦃') => depth += 1,
                Tok::Op(')' | ']' | '⦄') => depth -= 1,
                _ => {}
            }
        }
        depth <= 0
    }

    /// `\overline{3}`, `\dot{3}`, `(3)` after a decimal point.
    fn repeating(&mut self) -> String {
        for (open, close) in [("\\overline{", '}'), ("\\bar{", '}'), ("\\dot{", '}'), ("(", ')')] {
            if let Some(inner) = self.rest().strip_prefix(open) {
                let len = inner.bytes().take_while(u8::is_ascii_digit).count();
                if len > 0 && inner[len..].starts_with(close) {
                    let digits = inner[..len].to_owned();
                    self.at += open.len() + len + 1;
                    return digits;
                }
            }
        }
        String::new()
    }

    fn eat_dots(&mut self) -> bool {
        ["...", "…", "\\ldots", "\\dots", "\\cdots"].iter().any(|d| self.eat(d))
    }

    /// `1.5e-3`, only where no letter follows.
    fn exponent(&mut self, number: &mut Number) {
        let bytes = self.rest().as_bytes();
        if !matches!(bytes.first(), Some(b'e' | b'E')) {
            return;
        }
        let sign = usize::from(matches!(bytes.get(1), Some(b'+' | b'-')));
        let digits = bytes[1 + sign..].iter().take_while(|b| b.is_ascii_digit()).count();
        let end = 1 + sign + digits;
        if digits == 0 || digits > 3 || bytes.get(end).is_some_and(u8::is_ascii_alphabetic) {
            return;
        }
        let Ok(power) = self.rest()[1..end].parse::<i32>() else { return };
        self.at += end;
        number.value *= Rat::from_integer(BigInt::from(10)).pow(power);
        number.places = number.places.map(|p| u32::try_from(i64::from(p) - i64::from(power)).unwrap_or(0));
    }
}

fn next_digit(text: &str, at: usize) -> bool {
    text.as_bytes().get(at).is_some_and(u8::is_ascii_digit)
}

/// int.frac(repeat) as a rational.
fn value(int: &str, frac: Option<&str>, repeat: &str) -> Result<Number, LexError> {
    let frac = frac.unwrap_or("");
    if int.len() + frac.len() + repeat.len() > MAX_DIGITS {
        return Err(LexError::Limit);
    }
    let parse = |digits: &str| digits.parse::<BigInt>().unwrap_or_else(|_| BigInt::zero());
    let ten = |n: usize| BigInt::from(10).pow(n as u32);
    let mut value = match frac.is_empty() {
        true => Rat::from_integer(parse(int)),
        false => Rat::new(parse(&format!("0{int}{frac}")), ten(frac.len())),
    };
    if !repeat.is_empty() {
        value += Rat::new(parse(repeat), (ten(repeat.len()) - 1u32) * ten(frac.len()));
    }
    let places = (!frac.is_empty() && repeat.is_empty()).then_some(frac.len() as u32);
    Ok(Number { value, places })
}

/// The shortest piece that makes up the tail of `digits` at least twice (three times if it is one digit).
fn period(digits: &str) -> Option<&str> {
    (1..=digits.len() / 2).find_map(|len| {
        let tail = &digits[digits.len() - len..];
        let times = if len == 1 { 3 } else { 2 };
        (digits.len() >= len * times
            && digits.ends_with(&tail.repeat(times))
            && digits.len().is_multiple_of(len))
        .then_some(tail)
        .filter(|t| digits == t.repeat(digits.len() / len))
    })
}
