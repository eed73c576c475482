//! What each LaTeX command becomes. [`run`] is one table of commands, and long for that.

use super::lex::{LexError, Lexer, Tok};
use super::names;

/// Handles the command `name`, whose letters the lexer has consumed.
pub(super) fn run(lexer: &mut Lexer<'_>, name: &str) -> Result<(), LexError> {
    if let Some(op) = operator(name) {
        lexer.emit(Tok::Op(op));
        return Ok(());
    }
    if let Some(greek) = names::greek_name(name) {
        lexer.emit(Tok::Sym(greek.into()));
        return Ok(());
    }
    match name {
        "text" | "textrm" | "textbf" | "textit" | "textsf" | "texttt" | "mbox" | "hbox" | "mathrm"
        | "operatorname" | "rm" | "textnormal" | "textup" | "emph" | "mathop" | "textsc" => {
            return words(lexer);
        }
        "mathbf" | "mathit" | "mathcal" | "mathsf" | "boldsymbol" | "bm" | "vec" | "hat" | "tilde"
        | "underline" | "boxed" | "fbox" | "overrightarrow" | "widehat" | "mathfrak" | "mathscr" | "bf"
        | "it" | "ensuremath" | "overset" | "cancel" | "displaystyle" | "textstyle" | "scriptstyle"
        | "limits" | "nolimits" | "left" | "right" | "big" | "Big" | "bigg" | "Bigg" | "bigl" | "bigr"
        | "Bigl" | "Bigr" | "biggl" | "biggr" | "Biggl" | "Biggr" | "middle" | "angle" | "triangle"
        | "rightline" | "centering" | "nonumber" | "hfill" | "square" | "mathbin" | "mathrel"
        | "mathopen" | "mathclose" | "variable" | "therefore" | "because" | "checkmark" | "blacksquare"
        | "notag" | "large" | "Large" | "small" | "hline" | "rule" => dressed(lexer, name),
        "quad" | "qquad" | "newline" => lexer.emit(Tok::Op('␣')),
        "thinspace" | "medspace" | "thickspace" | "enspace" | "space" | "negthinspace" => lexer.gap(),
        "hspace" | "vspace" | "phantom" | "hphantom" | "vphantom" | "color" | "textcolor" | "tag"
        | "label" | "kern" => {
            lexer.raw_group();
        }
        "begin" => {
            lexer.environment(1);
            let env = lexer.raw_group().unwrap_or("").trim_end_matches('*').to_owned();
            if env == "array" || env == "tabular" {
                lexer.raw_group();
            }
            lexer.emit(Tok::Begin(env));
        }
        "end" => {
            lexer.environment(-1);
            let env = lexer.raw_group().unwrap_or("").trim_end_matches('*').to_owned();
            lexer.emit(Tok::End(env));
        }
        "mathbb" | "Bbb" | "varmathbb" => {
            let letter = lexer.raw_group().unwrap_or("");
            match names::blackboard(letter.trim()) {
                Some(space) => lexer.emit(Tok::Name(space)),
                None => lexer.emit(Tok::Sym(letter.trim().to_owned())),
            }
        }
        "overline" | "bar" => lexer.emit(Tok::Name("overline")),
        "land" | "wedge" | "and" => lexer.emit(Tok::Text("and".into())),
        "lor" | "vee" | "or" => lexer.emit(Tok::Text("or".into())),
        "pounds" => lexer.emit(Tok::Op('£')),
        "euro" => lexer.emit(Tok::Op('€')),
        "dollar" => lexer.emit(Tok::Op('$')),
        "percent" => lexer.emit(Tok::Op('%')),
        "i" | "imath" => lexer.emit(Tok::Sym("i".into())),
        "jmath" => lexer.emit(Tok::Sym("j".into())),
        "ell" => lexer.emit(Tok::Sym("ell".into())),
        "hbar" => lexer.emit(Tok::Sym("hbar".into())),
        other => match names::function(other) {
            Some(name) => lexer.emit(Tok::Name(name)),
            None if other.len() == 1 => lexer.emit(Tok::Sym(other.to_owned())),
            None => lexer.emit(Tok::Text(other.to_owned())),
        },
    }
    Ok(())
}

/// Commands that only dress what follows. `\left.` and `\right.` take their dot along.
fn dressed(lexer: &mut Lexer<'_>, name: &str) {
    if matches!(name, "left" | "right" | "middle") && lexer.rest_trimmed().starts_with('.') {
        let after = lexer.rest_trimmed()[1..].chars().next();
        if !after.is_some_and(|c| c.is_ascii_digit()) {
            lexer.skip_dot();
        }
    }
}

fn operator(name: &str) -> Option<char> {
    Some(match name {
        "cdot" | "times" | "ast" | "bullet" | "star" => '*',
        "div" => '/',
        "pm" => '±',
        "mp" => '∓',
        "le" | "leq" | "leqslant" | "leqq" | "lte" => '≤',
        "ge" | "geq" | "geqslant" | "geqq" | "gte" => '≥',
        "lt" => '<',
        "gt" => '>',
        "ne" | "neq" => '≠',
        "approx" | "simeq" | "thickapprox" | "approxeq" | "doteq" | "cong" | "sim" => '≈',
        "equiv" => '≡',
        "in" => '∈',
        "notin" => '∉',
        "subset" => '⊂',
        "subseteq" => '⊆',
        "cup" | "bigcup" => '∪',
        "cap" | "bigcap" => '∩',
        "setminus" | "backslash" | "smallsetminus" => '∖',
        "to" | "rightarrow" | "longrightarrow" | "longmapsto" | "mapsto" => '→',
        "implies" | "Rightarrow" | "Longrightarrow" | "iff" | "Leftrightarrow" | "leftrightarrow" => '⇒',
        "cdots" | "ldots" | "dots" | "dotsb" | "dotsc" | "vdots" | "ddots" => '…',
        "colon" => ':',
        "mid" => '∣',
        "vert" | "lvert" | "rvert" | "Vert" | "lVert" | "rVert" => '|',
        "lfloor" => '⌊',
        "rfloor" => '⌋',
        "lceil" => '⌈',
        "rceil" => '⌉',
        "langle" | "lparen" => '(',
        "rangle" | "rparen" => ')',
        "lbrace" => '⦃',
        "rbrace" => '⦄',
        "lbrack" => '[',
        "rbrack" => ']',
        "circ" | "degree" => '°',
        "prime" => '\'',
        _ => return None,
    })
}

/// `\text{…}`: a function's name, a number, mathematics between `$`, or words.
fn words(lexer: &mut Lexer<'_>) -> Result<(), LexError> {
    let Some(raw) = lexer.raw_group() else { return Ok(()) };
    let inner = raw.trim();
    if raw.starts_with([' ', '~']) {
        lexer.gap();
    }
    if inner.is_empty() {
        lexer.gap();
        return Ok(());
    }
    if let Some(name) = names::function(inner) {
        lexer.emit(Tok::Name(name));
        return Ok(());
    }
    if inner.chars().any(|c| c.is_ascii_digit()) || inner.contains(['$', '\\', '(', '{', '%', '^']) {
        return lexer.inline(raw, false);
    }
    for word in inner.split(|c: char| c.is_whitespace() || c == '~').filter(|w| !w.is_empty()) {
        let bare = word.trim_end_matches([',', '.', ';', ':']);
        for (i, part) in bare.split('/').enumerate() {
            // "m/s"
            if i > 0 {
                lexer.emit(Tok::Op('/'));
            }
            if !part.is_empty() {
                lexer.emit(Tok::Text(part.to_owned()));
            }
        }
        if bare.len() < word.len() && word.ends_with([',', ';']) {
            lexer.emit(Tok::Op(','));
        }
        lexer.gap();
    }
    Ok(())
}
