//! Names: functions, Greek letters, words that are never products of letters. [`function`] is a table, and long for that.

/// Functions and constructions, under the name the parser knows; spellings of LaTeX, plain text and SymPy.
pub(super) fn function(name: &str) -> Option<&'static str> {
    const SAME: [&str; 61] = [
        "frac",
        "sqrt",
        "sin",
        "cos",
        "tan",
        "cot",
        "sec",
        "csc",
        "arcsin",
        "arccos",
        "arctan",
        "arccot",
        "arcsec",
        "arccsc",
        "sinh",
        "cosh",
        "tanh",
        "coth",
        "sech",
        "csch",
        "arcsinh",
        "arccosh",
        "arctanh",
        "exp",
        "ln",
        "log",
        "lg",
        "lb",
        "abs",
        "floor",
        "ceil",
        "binom",
        "gcd",
        "lcm",
        "max",
        "min",
        "mod",
        "pmod",
        "sum",
        "prod",
        "int",
        "lim",
        "det",
        "infty",
        "pi",
        "emptyset",
        "reals",
        "integers",
        "naturals",
        "rationals",
        "complexes",
        "overline",
        "factorial",
        "sign",
        "conj",
        "cbrt",
        "Eq",
        "substack",
        "stackrel",
        "root",
        "partial",
    ];
    if let Some(same) = SAME.iter().find(|s| **s == name) {
        return Some(same);
    }
    Some(match name {
        "dfrac" | "tfrac" | "cfrac" | "Frac" => "frac",
        "tg" => "tan",
        "ctg" | "cotg" => "cot",
        "cosec" => "csc",
        "asin" => "arcsin",
        "acos" => "arccos",
        "atan" | "arctg" | "tg^{-1}" => "arctan",
        "acot" | "arcctg" => "arccot",
        "asec" => "arcsec",
        "acsc" => "arccsc",
        "asinh" | "arsinh" => "arcsinh",
        "acosh" | "arcosh" => "arccosh",
        "atanh" | "artanh" => "arctanh",
        "sh" => "sinh",
        "th" => "tanh",
        "Abs" => "abs",
        "ceiling" => "ceil",
        "dbinom" | "tbinom" | "binomial" | "comb" => "binom",
        "oo" | "infinity" | "inf" | "Infinity" => "infty",
        "Pi" => "pi",
        "sgn" => "sign",
        "conjugate" => "conj",
        "Sum" => "sum",
        "Product" => "prod",
        "Integral" => "int",
        "iint" | "oint" | "idotsint" => "int",
        "Max" => "max",
        "Min" => "min",
        "Mod" | "bmod" => "mod",
        "varnothing" => "emptyset",
        "limit" => "lim",
        _ => return None,
    })
}

/// A function's name at the beginning of a run, followed by one letter: `sinx`.
pub(super) fn glued(run: &str) -> Option<&'static str> {
    ["sin", "cos", "tan", "cot", "sec", "csc", "ln", "log", "sqrt"]
        .into_iter()
        .find(|name| run.strip_prefix(name).is_some_and(|r| r.len() == 1))
}

const GREEK: [(&str, char, char); 24] = [
    ("alpha", 'α', 'Α'),
    ("beta", 'β', 'Β'),
    ("gamma", 'γ', 'Γ'),
    ("delta", 'δ', 'Δ'),
    ("epsilon", 'ε', 'Ε'),
    ("zeta", 'ζ', 'Ζ'),
    ("eta", 'η', 'Η'),
    ("theta", 'θ', 'Θ'),
    ("iota", 'ι', 'Ι'),
    ("kappa", 'κ', 'Κ'),
    ("lambda", 'λ', 'Λ'),
    ("mu", 'μ', 'Μ'),
    ("nu", 'ν', 'Ν'),
    ("xi", 'ξ', 'Ξ'),
    ("omicron", 'ο', 'Ο'),
    ("pi", 'π', 'Π'),
    ("rho", 'ρ', 'Ρ'),
    ("sigma", 'σ', 'Σ'),
    ("tau", 'τ', 'Τ'),
    ("upsilon", 'υ', 'Υ'),
    ("phi", 'φ', 'Φ'),
    ("chi", 'χ', 'Χ'),
    ("psi", 'ψ', 'Ψ'),
    ("omega", 'ω', 'Ω'),
];

const CAPITALS: [&str; 24] = [
    "Alpha", "Beta", "Gamma", "Delta", "Epsilon", "Zeta", "Eta", "Theta", "Iota", "Kappa", "Lambda", "Mu",
    "Nu", "Xi", "Omicron", "PI", "Rho", "Sigma", "Tau", "Upsilon", "Phi", "Chi", "Psi", "Omega",
];

/// The name of a Greek letter's command; variants are folded into their letter. `pi` is a constant, not a letter.
pub(super) fn greek_name(name: &str) -> Option<&'static str> {
    let base = match name.strip_prefix("var") {
        Some(rest) if matches!(rest, "epsilon" | "theta" | "phi" | "rho" | "sigma" | "kappa") => rest,
        _ => name,
    };
    if base == "pi" {
        return None;
    }
    GREEK.iter().map(|(n, ..)| *n).chain(CAPITALS).find(|n| *n == base)
}

/// The name of a Greek character.
pub(super) fn greek_letter(c: char) -> Option<&'static str> {
    match c {
        'ϕ' => return Some("phi"),
        'ϵ' => return Some("epsilon"),
        'ϑ' => return Some("theta"),
        'µ' => return Some("mu"),
        _ => {}
    }
    GREEK.iter().zip(CAPITALS).find_map(|((name, small, capital), large)| match c {
        c if c == *small => Some(*name),
        c if c == *capital => Some(large),
        _ => None,
    })
}

/// `\mathbb{R}` and its kin.
pub(super) fn blackboard(letter: &str) -> Option<&'static str> {
    Some(match letter {
        "R" => "reals",
        "Z" => "integers",
        "N" => "naturals",
        "Q" => "rationals",
        "C" => "complexes",
        _ => return None,
    })
}

/// Whether a name is a command at all; used where text was escaped twice or commands are glued to letters.
pub(super) fn is_command(name: &str) -> bool {
    const OTHERS: [&str; 52] = [
        "text",
        "mathrm",
        "mathbf",
        "mathbb",
        "left",
        "right",
        "boxed",
        "fbox",
        "begin",
        "end",
        "quad",
        "qquad",
        "cdot",
        "times",
        "div",
        "pm",
        "mp",
        "le",
        "leq",
        "ge",
        "geq",
        "lt",
        "gt",
        "ne",
        "neq",
        "approx",
        "in",
        "cup",
        "cap",
        "setminus",
        "to",
        "infty",
        "circ",
        "overline",
        "cdots",
        "ldots",
        "dots",
        "implies",
        "Rightarrow",
        "mid",
        "textbf",
        "operatorname",
        "displaystyle",
        "rightarrow",
        "leqslant",
        "geqslant",
        "degree",
        "equiv",
        "land",
        "lor",
        "vec",
        "mathcal",
    ];
    OTHERS.contains(&name) || function(name).is_some() || greek_name(name).is_some()
}

/// Short English words that are never products of letters.
pub(super) fn is_word(run: &str) -> bool {
    const WORDS: [&str; 59] = [
        "is", "in", "are", "the", "of", "to", "be", "it", "so", "we", "if", "by", "as", "an", "on", "for",
        "has", "was", "can", "its", "and", "or", "not", "no", "yes", "all", "any", "one", "two", "six",
        "ten", "per", "has", "had", "one", "let", "get", "but", "you", "per", "odd", "dne", "DNE", "via",
        "he", "she", "they", "at", "do", "from", "with", "then", "has", "pct", "day", "now", "set", "am",
        "pm",
    ];
    // Long runs of plain letters are words in any mode; LaTeX writes them as letters only by accident.
    run.len() > 4 || WORDS.contains(&run) || WORDS.contains(&run.to_ascii_lowercase().as_str())
}
