//! One lexer for LaTeX and plain text.
//!
//! Numbers are finished here (in `numeral`), because their notations collide with everything else. Commands are reduced to single characters or names; dress (`\left`, `\,`,
//! `\displaystyle`, `\mathbf`) disappears. What a run of letters means depends on the mode: in LaTeX they are factors, in
//! plain text a known name, a short product such as `xy`, or a word.

use super::expr::Number;
use super::names;
use crate::words::{plain, raised};

/// How a comma between digits is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Commas {
    /// Before exactly three digits, outside brackets, it groups; elsewhere it separates.
    Group,
    /// It separates.
    Separate,
    /// It is the decimal point.
    Decimal,
}

/// One token.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Tok {
    Num(Number),
    /// A letter, Greek letter or other single symbol.
    Sym(String),
    /// A word: from `\text{}` or a run of plain letters.
    Text(String),
    /// A known function or construction, without its backslash.
    Name(&'static str),
    /// An operator, bracket or mark. `⦃⦄` are set braces, `{}` groups, `␣` a wide gap, `↵` a row's end.
    Op(char),
    Begin(String),
    End(String),
}

/// A token, whether blank space stands before it, and its digits if it is an integer (leading zeros matter in bases).
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Token {
    pub tok: Tok,
    pub space: bool,
    pub digits: Option<String>,
}

/// Why a text has no tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LexError {
    /// Too many tokens or digits.
    Limit,
    /// A character that is no mathematics.
    Stray,
}

pub(crate) const MAX_TOKENS: usize = 1500;
pub(crate) struct Lexer<'a> {
    pub(super) src: &'a str,
    pub(super) at: usize,
    pub(super) latex: bool,
    pub(super) commas: Commas,
    pub(super) depth: i32,
    pub(super) env: i32,
    /// Open braces: whether each groups.
    pub(super) braces: Vec<bool>,
    pub(super) space: bool,
    pub(super) out: Vec<Token>,
}

/// Tokens of `text`. `latex`: the text stood in a LaTeX environment.
pub(crate) fn lex(text: &str, latex: bool, commas: Commas) -> Result<Vec<Token>, LexError> {
    let raised = raised(text);
    let text = plain(&raised);
    let latex = latex || text.contains('\\');
    let mut lexer = Lexer {
        src: &text,
        at: 0,
        latex,
        commas,
        depth: 0,
        env: 0,
        braces: vec![],
        space: false,
        out: Vec::new(),
    };
    while lexer.at < lexer.src.len() {
        lexer.step()?;
        if lexer.out.len() > MAX_TOKENS {
            return Err(LexError::Limit);
        }
    }
    Ok(lexer.out)
}

impl<'a> Lexer<'a> {
    pub(super) fn rest(&self) -> &'a str {
        &self.src[self.at..]
    }

    pub(super) fn eat(&mut self, prefix: &str) -> bool {
        let hit = self.rest().starts_with(prefix);
        if hit {
            self.at += prefix.len();
        }
        hit
    }

    fn push(&mut self, tok: Tok) {
        self.out.push(Token { tok, space: self.space, digits: None });
        self.space = false;
    }

    fn op(&mut self, c: char) {
        match c {
            '(' | '[' | '⦃' | '{' => self.depth += 1,
            ')' | ']' | '⦄' | '}' => self.depth -= 1,
            _ => {}
        }
        self.push(Tok::Op(c));
    }

    fn step(&mut self) -> Result<(), LexError> {
        let Some(c) = self.rest().chars().next() else { return Ok(()) };
        let next = self.rest()[c.len_utf8()..].chars().next();
        match c {
            c if c.is_whitespace() || c == '~' => {
                self.at += c.len_utf8();
                self.space = true;
            }
            '0'..='9' => return self.number(),
            '.' if next.is_some_and(|n| n.is_ascii_digit()) => return self.number(),
            '\\' => return self.command(),
            c if c.is_ascii_alphabetic() => self.letters(),
            '*' if next == Some('*') => {
                self.at += 2;
                self.op('^');
            }
            '<' | '>' | '!' | '=' | ':' | '-' | '+' | '.' if self.digraph() => {}
            _ => {
                self.at += c.len_utf8();
                return self.single(c);
            }
        }
        Ok(())
    }

    /// Two- and three-character operators of plain text.
    fn digraph(&mut self) -> bool {
        const DIGRAPHS: [(&str, char); 16] = [
            ("<=>", '⇒'),
            ("<=", '≤'),
            ("=<", '≤'),
            (">=", '≥'),
            ("=>", '⇒'),
            ("!==", '≠'),
            ("!=", '≠'),
            ("<>", '≠'),
            ("==", '='),
            ("=/=", '≠'),
            ("->", '→'),
            ("+/-", '±'),
            ("+-", '±'),
            ("-+", '∓'),
            (":=", '='),
            ("...", '…'),
        ];
        match DIGRAPHS.iter().find(|(text, _)| self.rest().starts_with(text)) {
            Some((text, op)) => {
                self.at += text.len();
                self.op(*op);
                true
            }
            None => false,
        }
    }

    fn single(&mut self, c: char) -> Result<(), LexError> {
        match c {
            '+' | '-' | '*' | '/' | '^' | '_' | '!' | '|' | ',' | ';' | ':' | '(' | ')' | '[' | ']' | '='
            | '<' | '>' | '%' | '\'' | '$' | '€' | '£' | '¥' | '₹' | '≤' | '≥' | '≠' | '≈' | '∈' | '∉'
            | '∪' | '∩' | '∖' | '±' | '∓' | '→' | '°' | '√' | '∣' | '⌊' | '⌋' | '⌈' | '⌉' | '≡' | '⊂'
            | '⊆' => self.op(c),
            // Braces group in LaTeX and in an exponent; in plain text they hold a set.
            '{' => {
                let group =
                    self.latex || matches!(self.out.last(), Some(Token { tok: Tok::Op('^' | '_'), .. }));
                self.braces.push(group);
                self.op(if group { '{' } else { '⦃' });
            }
            '}' => {
                let group = self.braces.pop().unwrap_or(self.latex);
                self.op(if group { '}' } else { '⦄' });
            }
            '&' => self.push(Tok::Op('&')),
            '×' | '·' | '∙' | '⋅' | '∗' | '•' => self.op('*'),
            '÷' | '∕' | '⁄' => self.op('/'),
            '⩽' | '≦' => self.op('≤'),
            '⩾' | '≧' => self.op('≥'),
            '≃' | '≅' | '∼' => self.op('≈'),
            '⇒' | '⟹' | '∴' | '⇔' => self.op('⇒'),
            '′' => self.op('\''),
            '″' => {
                self.op('\'');
                self.op('\'');
            }
            '∞' => self.push(Tok::Name("infty")),
            'º' | '˚' => self.op('°'),
            '∅' => self.push(Tok::Name("emptyset")),
            '⟨' | '〈' => self.op('('),
            '⟩' | '〉' => self.op(')'),
            '∧' => self.push(Tok::Text("and".into())),
            '∨' => self.push(Tok::Text("or".into())),
            '∑' => self.push(Tok::Name("sum")),
            '∏' => self.push(Tok::Name("prod")),
            '∫' => self.push(Tok::Name("int")),
            '∆' => self.push(Tok::Sym("Delta".into())),
            '∠' | '△' | '#' | '"' | '`' | '。' | '\u{c}' | '\u{8}' => {}
            '、' | '，' => self.op(','),
            '.' | '?' => self.push(Tok::Op('.')),
            c => match names::greek_letter(c) {
                Some("pi") => self.push(Tok::Name("pi")),
                Some(name) => self.push(Tok::Sym(name.into())),
                None if c.is_alphabetic() => self.word(c),
                None => return Err(LexError::Stray),
            },
        }
        Ok(())
    }

    /// A word of another script.
    fn word(&mut self, first: char) {
        let len = self.rest().find(|c: char| !c.is_alphabetic()).unwrap_or(self.rest().len());
        let word = format!("{first}{}", &self.rest()[..len]);
        self.at += len;
        self.push(Tok::Text(word));
    }

    /// A run of ASCII letters.
    fn letters(&mut self) {
        let rest = self.rest();
        let len = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
        let run = &rest[..len];
        if let Some(name) = names::function(run) {
            self.at += run.len();
            return self.push(Tok::Name(name));
        }
        // "sinx", "ln2": a function glued to its argument.
        if let Some(name) = names::glued(run) {
            self.at += name.len();
            return self.push(Tok::Name(name));
        }
        let letters = run.chars().count();
        let factor = letters == 1
            || (self.latex && !names::is_word(run))
            || (letters <= 3 && !names::is_word(run) && super::unit::lookup(run).is_none());
        if factor {
            self.at += 1;
            let c = &run[..1];
            self.push(Tok::Sym(c.to_owned()));
        } else {
            self.at += run.len();
            match names::greek_name(run) {
                Some(name) => self.push(Tok::Sym(name.into())),
                None => self.push(Tok::Text(run.to_owned())),
            }
        }
    }

    /// A backslash and what follows.
    fn command(&mut self) -> Result<(), LexError> {
        let rest = &self.rest()[1..];
        let name_len = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
        if name_len == 0 {
            return self.control_symbol(rest);
        }
        let mut name = &rest[..name_len];
        // "\quadx_2" and "\cdotx": a known command glued to letters.
        if !names::is_command(name)
            && let Some(known) = (2..name.len()).rev().map(|n| &name[..n]).find(|n| names::is_command(n))
        {
            name = known;
        }
        self.at += 1 + name.len();
        super::command::run(self, name)
    }

    fn control_symbol(&mut self, rest: &str) -> Result<(), LexError> {
        let Some(c) = rest.chars().next() else {
            self.at += 1;
            return Ok(());
        };
        // `\\le` for `\le`: text that was escaped twice. In a matrix two backslashes end a row.
        let doubled = c == '\\' && {
            let after = &rest[1..];
            let len = after.bytes().take_while(u8::is_ascii_alphabetic).count();
            len > 1
                && names::is_command(&after[..len])
                && (self.env == 0 || matches!(&after[..len], "frac" | "dfrac" | "sqrt"))
        };
        if doubled {
            self.at += 1;
            return self.command();
        }
        self.at += 1 + c.len_utf8();
        match c {
            '{' => self.op('⦃'),
            '}' => self.op('⦄'),
            '%' => self.op('%'),
            '$' => self.op('$'),
            '|' => self.op('|'),
            '\\' => self.op('↵'),
            '(' | ')' | '[' | ']' | ',' | ';' | ':' | '!' | '>' | '&' | '#' | '_' | '/' | '-' | '"' | '*'
            | '@' | '\'' | '.' => {
                self.space = true;
            }
            // A form feed where `\f` of `\frac` was taken for an escape, and the like.
            '\u{c}' if self.rest().starts_with("rac") => {
                self.at += 3;
                self.push(Tok::Name("frac"));
            }
            c if c.is_whitespace() => self.space = true,
            _ => return Err(LexError::Stray),
        }
        Ok(())
    }

    // --- for `command` ---

    pub(super) fn emit(&mut self, tok: Tok) {
        match tok {
            Tok::Op(c) => self.op(c),
            other => self.push(other),
        }
    }

    /// Past blanks and the dot of `\\left.`.
    pub(super) fn skip_dot(&mut self) {
        self.at += self.rest().len() - self.rest_trimmed().len() + 1;
    }

    pub(super) fn gap(&mut self) {
        self.space = true;
    }

    pub(super) fn environment(&mut self, step: i32) {
        self.env += step;
    }

    pub(super) fn rest_trimmed(&self) -> &'a str {
        self.rest().trim_start()
    }

    /// The raw content of the `{…}` that follows, consumed.
    pub(super) fn raw_group(&mut self) -> Option<&'a str> {
        let blank = self.rest().len() - self.rest().trim_start().len();
        let rest = &self.rest()[blank..];
        if !rest.starts_with('{') {
            return None;
        }
        let mut depth = 0;
        for (i, b) in rest.bytes().enumerate() {
            match b {
                b'{' => depth += 1,
                b'}' => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                self.at += blank + i + 1;
                return Some(&rest[1..i]);
            }
        }
        None
    }

    /// Lexes a piece of the source in place of itself, in a mode of its own.
    pub(super) fn inline(&mut self, text: &'a str, latex: bool) -> Result<(), LexError> {
        let (src, at, was) = (self.src, self.at, self.latex);
        (self.src, self.at, self.latex) = (text, 0, latex);
        let mut result = Ok(());
        while result.is_ok() && self.at < self.src.len() && self.out.len() <= MAX_TOKENS {
            result = self.step();
        }
        (self.src, self.at, self.latex) = (src, at, was);
        result
    }
}
