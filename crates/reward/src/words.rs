//! Text brought to a common form: Unicode, case, articles, punctuation, digits of several scripts, number words.

use std::borrow::Cow;

use unicode_normalization::UnicodeNormalization;

/// First code point of each run of ten decimal digits beyond ASCII that answers are written in.
const DIGIT_ZEROS: [char; 16] = [
    '\u{0660}', '\u{06F0}', '\u{0966}', '\u{09E6}', '\u{0A66}', '\u{0AE6}', '\u{0B66}', '\u{0BE6}',
    '\u{0C66}', '\u{0CE6}', '\u{0D66}', '\u{0E50}', '\u{0ED0}', '\u{0F20}', '\u{1040}', '\u{FF10}',
];

/// The value of a decimal digit of any of the scripts known here.
pub(crate) fn digit(c: char) -> Option<u32> {
    if c.is_ascii() {
        return c.to_digit(10);
    }
    DIGIT_ZEROS.iter().map(|&zero| (c as u32).wrapping_sub(zero as u32)).find(|d| *d < 10)
}

/// NFKC with ASCII digits, and typographic dashes and quotes as ASCII. Borrowed if nothing changes.
pub(crate) fn plain(text: &str) -> Cow<'_, str> {
    if text.is_ascii() {
        return Cow::Borrowed(text);
    }
    Cow::Owned(
        text.nfkc()
            .map(|c| match c {
                '\u{2010}'..='\u{2015}' | '\u{2212}' => '-',
                '\u{2018}' | '\u{2019}' | '\u{02BC}' => '\'',
                '\u{201C}' | '\u{201D}' => '"',
                '\u{00A0}' | '\u{202F}' | '\u{2009}' => ' ',
                c => digit(c).and_then(|d| char::from_digit(d, 10)).unwrap_or(c),
            })
            .filter(|c| !matches!(c, '\u{200B}'..='\u{200F}' | '\u{FEFF}' | '\u{2060}'..='\u{2064}'))
            .collect(),
    )
}

/// Superscripts as `^{…}`, subscripts as `_{…}`, and a blank before ½: NFKC would make 25 of 2⁵ and 31⁄2 of 3½, and a letter of ℝ.
pub(crate) fn raised(text: &str) -> Cow<'_, str> {
    if text.is_ascii() {
        return Cow::Borrowed(text);
    }
    const ABOVE: &str = "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁽⁾ⁿⁱˣ";
    const BELOW: &str = "₀₁₂₃₄₅₆₇₈₉₊₋₍₎ₙᵢₓ";
    const PLAIN: &str = "0123456789+-()nix";
    let find = |c: char| {
        let of = |set: &str| set.chars().position(|s| s == c).and_then(|i| PLAIN.chars().nth(i));
        of(ABOVE).map(|p| ('^', p)).or_else(|| of(BELOW).map(|p| ('_', p)))
    };
    let mut out = String::with_capacity(text.len() + 16);
    let mut open = None;
    for c in text.chars() {
        let found = find(c);
        if open.is_some() && found.map(|(mark, _)| mark) != open {
            out.push('}');
            open = None;
        }
        match found {
            Some((mark, digit)) => {
                if open.is_none() {
                    out.push(mark);
                    out.push('{');
                    open = Some(mark);
                }
                out.push(digit);
            }
            None if matches!(c, 'ℝ' | 'ℤ' | 'ℕ' | 'ℚ' | 'ℂ') => out.push_str(match c {
                'ℝ' => " reals ",
                'ℤ' => " integers ",
                'ℕ' => " naturals ",
                'ℚ' => " rationals ",
                _ => " complexes ",
            }),
            None => {
                if matches!(c, '½' | '¼' | '¾' | '⅓' | '⅔' | '⅛' | '⅕') {
                    out.push(' ');
                }
                out.push(c);
            }
        }
    }
    if open.is_some() {
        out.push('}');
    }
    Cow::Owned(out)
}

/// Lower case, blanks collapsed and trimmed.
pub(crate) fn folded(text: &str) -> String {
    collapse(&plain(text).to_lowercase())
}

/// Blanks collapsed and trimmed.
pub(crate) fn collapse(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for word in text.split_whitespace() {
        if !out.is_empty() {
            out.push(' ');
        }
        out.push_str(word);
    }
    out
}

/// The words of an answer for comparison: LaTeX and markdown dress removed, folded, punctuation at word edges and
/// articles dropped, hyphens as blanks, number words as digits, abbreviations without dots, `&` as `and`.
pub(crate) fn normal_words(text: &str, case: bool) -> Vec<String> {
    let text = undress(&plain(text));
    let text = if case { text } else { text.to_lowercase() };
    let words: Vec<String> = text
        .split(|c: char| c.is_whitespace() || matches!(c, '-' | '/' | '_'))
        .map(|w| match w {
            "&" => "and".to_owned(),
            w => inner_word(w),
        })
        .filter(|w| !w.is_empty() && !matches!(w.as_str(), "a" | "an" | "the" | "A" | "An" | "The"))
        .collect();
    match words.is_empty() {
        // "A" alone is an answer, not an article.
        true => text.split_whitespace().map(inner_word).filter(|w| !w.is_empty()).collect(),
        false => digits_for_words(words),
    }
}

/// Without punctuation at its edges, apostrophes, and the dots of `U.S.A.`; the decimal point and sign of a number stay.
fn inner_word(word: &str) -> String {
    let number =
        |w: &str| w.trim_start_matches(['+', '-']).chars().all(|c| c.is_ascii_digit() || ".,%".contains(c));
    let w = word.trim_end_matches(|c: char| !c.is_alphanumeric() && c != '%' && c != '+' && c != '#');
    let w = w.trim_start_matches(|c: char| !c.is_alphanumeric() && !matches!(c, '-' | '.' | '$' | '+'));
    let w = w.trim_start_matches('$');
    if number(w) {
        let w = w.trim_end_matches(['.', ',']);
        let grouped = w.split(',').skip(1).all(|g| g.split('.').next().is_some_and(|g| g.len() == 3));
        return if grouped { w.replace(',', "") } else { w.to_owned() };
    }
    let w = w.trim_start_matches(|c: char| !c.is_alphanumeric());
    w.chars().filter(|c| !matches!(c, '\'' | '.' | '"' | '(' | ')' | '*' | '`' | ',')).collect()
}

/// Removes `\text{}` and its kin, `$`, `**`, backticks and surrounding quotes, keeping the words.
pub(crate) fn undress(text: &str) -> String {
    let mut out = text.trim().to_owned();
    if out.contains('\\') {
        for command in ["\\text", "\\textbf", "\\textit", "\\mathrm", "\\mathbf", "\\mbox", "\\operatorname"]
        {
            out = out.replace(&format!("{command}{{"), "{");
        }
        out = out.replace("\\ ", " ").replace("\\,", " ").replace("\\%", "%").replace("\\$", "$");
        out = out.replace("\\left", "").replace("\\right", "");
        out = out.replace("\\(", "").replace("\\)", "").replace("\\[", "").replace("\\]", "");
    }
    out = out.replace("**", "").replace('`', "");
    if !out.contains('\\') {
        out = out.replace(['{', '}'], "");
    }
    if out.starts_with('$') && out.ends_with('$') && out.len() > 1 {
        out = out.trim_matches('$').to_owned();
    }
    out.trim().to_owned()
}

const UNITS: [&str; 20] = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
];
const TENS: [&str; 8] = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"];

/// The value of one English number word below a hundred.
fn small(word: &str) -> Option<u64> {
    UNITS
        .iter()
        .position(|u| *u == word)
        .map(|i| i as u64)
        .or_else(|| TENS.iter().position(|t| *t == word).map(|i| 20 + 10 * i as u64))
}

/// The number at the beginning of `words` and how many words it takes: "one hundred and twenty five" is (125, 5).
///
/// Words must be lower case, without hyphens. Up to billions.
pub(crate) fn number_words<S: AsRef<str>>(words: &[S]) -> Option<(u64, usize)> {
    let word = |i: usize| words.get(i).map(AsRef::as_ref);
    let (mut total, mut group, mut used, mut last) = (0u64, None::<u64>, 0, 0u64);
    loop {
        let (i, and) = match word(used) {
            Some("and") if used > 0 && word(used + 1).and_then(small).is_some() && last >= 100 => {
                (used + 1, true)
            }
            _ => (used, false),
        };
        let Some(w) = word(i) else { break };
        if let Some(n) = small(w) {
            // "twenty five" joins, "five twenty" and "twenty thirty" do not.
            let joins = match group {
                None => true,
                Some(_) if and => n < 100,
                Some(_) => last >= 100 || (last >= 20 && last % 10 == 0 && n > 0 && n < 10),
            };
            if !joins {
                break;
            }
            group = Some(group.unwrap_or(0) + n);
            last = n;
        } else if w == "hundred" && group.is_some_and(|g| g < 100 && g > 0) {
            group = group.map(|g| g * 100);
            last = 100;
        } else if let Some(scale) = scale(w).filter(|_| group.is_some()) {
            total += group.take()?.checked_mul(scale)?;
            last = scale;
            group = (word(i + 1).and_then(small).is_some() || word(i + 1) == Some("and")).then_some(0);
        } else {
            break;
        }
        used = i + 1;
    }
    (used > 0).then(|| (total + group.unwrap_or(0), used))
}

fn scale(word: &str) -> Option<u64> {
    match word {
        "thousand" => Some(1_000),
        "million" => Some(1_000_000),
        "billion" => Some(1_000_000_000),
        _ => None,
    }
}

fn digits_for_words(words: Vec<String>) -> Vec<String> {
    let mut out = Vec::with_capacity(words.len());
    let mut i = 0;
    while i < words.len() {
        match number_words(&words[i..]) {
            Some((n, used)) => {
                out.push(n.to_string());
                i += used;
            }
            None => {
                out.push(words[i].clone());
                i += 1;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn number_words_are_read_greedily() {
        let table: &[(&str, Option<(u64, usize)>)] = &[
            ("zero", Some((0, 1))),
            ("twenty five", Some((25, 2))),
            ("one hundred and twenty five dogs", Some((125, 5))),
            ("two thousand three hundred", Some((2300, 4))),
            ("three million", Some((3_000_000, 2))),
            ("five twenty", Some((5, 1))),
            ("hundred", None),
            ("dogs", None),
        ];
        for (text, want) in table {
            let words: Vec<&str> = text.split(' ').collect();
            assert_eq!(number_words(&words), *want, "{text}");
        }
    }

    #[test]
    fn words_lose_their_dress() {
        let table: &[(&str, &str)] = &[
            ("The **Eiffel Tower**.", "eiffel tower"),
            ("\\text{Navin}", "navin"),
            ("U.S.A.", "usa"),
            ("rock & roll", "rock and roll"),
            ("twenty-five dogs", "25 dogs"),
            ("1,234.50", "1234.50"),
            ("A", "a"),
            ("٣", "3"),
            ("don't", "dont"),
            ("(five)", "5"),
        ];
        for (text, want) in table {
            assert_eq!(normal_words(text, false).join(" "), *want, "{text}");
        }
    }
}
