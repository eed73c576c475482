//! Multiple choice: the letters a response commits to, compared as a set with the truth's.
//!
//! A capital A is an article far more often than an answer, so bare letters in running text count only where they are
//! the only ones; two different letters for one truth are a rejection, never a guess; no letter is a rejection.

use std::collections::BTreeSet;

use crate::kinds::anchor;
use crate::record::{Extract, Record, TruthError};
use crate::response::{Piece, Response};
use crate::verdict::{Reason, Tier, Verdict};
use crate::words::{folded, normal_words, plain, undress};

type Letters = BTreeSet<String>;

/// The options of one row, with their texts as words.
struct Options {
    letters: Vec<String>,
    texts: Vec<Vec<String>>,
}

pub(crate) fn mcq(record: &Record) -> Result<Verdict, TruthError> {
    let options = options(record);
    let truth = truth(record, &options)?;
    let response = Response::parse(&record.pred);
    let piece = match response.short(record.opts.extract) {
        Ok(piece) => piece,
        Err(reason) => return Ok(Verdict::reject(reason, Tier::Extraction).with(join(&truth), "")),
    };
    let tagged =
        response.answer.is_some() || response.boxed.is_some() || record.opts.extract == Extract::Boxed;
    let found = read(piece, tagged, &options);
    let verdict = match &found {
        Err(reason) => Verdict::reject(*reason, Tier::Rule),
        Ok(letters) if *letters == truth => Verdict::accept(Tier::Rule),
        Ok(letters) if letters.len() > truth.len() && truth.len() == 1 => {
            Verdict::reject(Reason::Several, Tier::Rule)
        }
        Ok(_) => Verdict::reject(Reason::Different, Tier::Rule),
    };
    Ok(verdict.with(join(&truth), found.map(|l| join(&l)).unwrap_or_default()).at(piece.span()))
}

fn join(letters: &Letters) -> String {
    letters.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
}

/// Without choices the letters are A to J, and on to the truth's.
fn options(record: &Record) -> Options {
    if !record.choices.is_empty() {
        return Options {
            letters: record.choices.iter().map(|(l, _)| l.to_uppercase()).collect(),
            texts: record.choices.iter().map(|(_, t)| normal_words(t, false)).collect(),
        };
    }
    let last = record
        .golds
        .iter()
        .flat_map(|g| g.chars())
        .filter(char::is_ascii_uppercase)
        .max()
        .unwrap_or('J')
        .max('J');
    let letters: Vec<String> = ('A'..=last).map(String::from).collect();
    Options { texts: vec![vec![]; letters.len()], letters }
}

/// The correct letters. A truth that is no letter is looked up among the texts.
fn truth(record: &Record, options: &Options) -> Result<Letters, TruthError> {
    let mut all = Letters::new();
    for gold in &record.golds {
        let gold = gold.trim();
        if gold.is_empty() {
            return Err(TruthError::Empty);
        }
        match committed(gold, options) {
            Some(letters) => all.extend(letters),
            None => return Err(TruthError::malformed(gold, "a letter or the text of one of the choices")),
        }
    }
    if all.is_empty() { Err(TruthError::Empty) } else { Ok(all) }
}

/// The letters a response commits to, by the strongest form present.
fn read(piece: Piece<'_>, tagged: bool, options: &Options) -> Result<Letters, Reason> {
    let text = plain(piece.text);
    let lines = || text.lines().filter(|l| !l.trim().is_empty());
    let single = lines().count() == 1;
    if let Some(letters) = committed(&text, options).filter(|_| single || tagged) {
        return Ok(letters);
    }
    if let Some(announced) = anchor::payload(piece) {
        let said = plain(announced.text);
        if let Some(letters) = committed(&said, options).or_else(|| leading(&said, options)) {
            return Ok(letters);
        }
    }
    if !tagged {
        let (last, first) = (lines().next_back().unwrap_or(""), lines().next().unwrap_or(""));
        if let Some(letters) = committed(last, options).or_else(|| committed(first, options)) {
            return Ok(letters);
        }
    }
    if let Some(letter) = declared(&text, options) {
        return Ok(Letters::from([letter]));
    }
    let loose = loose(&text, options);
    match loose.len() {
        0 => by_text(&text, options),
        1 if !denied(&text, &loose) => Ok(loose),
        1 => Err(Reason::Unreadable),
        _ => Err(Reason::Several),
    }
}

/// A text that is an answer as a whole: a letter, a letter and its text, a list of letters, or an option's text.
fn committed(text: &str, options: &Options) -> Option<Letters> {
    let text = undress(text);
    let bare = text.trim_matches(|c: char| c.is_whitespace() || "()[]{}.,:;!*\"'#<>".contains(c));
    let bare = bare.strip_prefix("Option ").or_else(|| bare.strip_prefix("option ")).unwrap_or(bare).trim();
    if let Some(letter) = letter(bare, options) {
        return Some(Letters::from([letter]));
    }
    let words = normal_words(&text, false);
    let mut same = options.texts.iter().enumerate().filter(|(_, t)| !t.is_empty() && **t == words);
    if let (Some((i, _)), None) = (same.next(), same.next()) {
        return Some(Letters::from([options.letters[i].clone()]));
    }
    letter_and_text(&text, options).or_else(|| listed(bare, options))
}

/// `B) a dog`, `(B) a dog`, `B. a dog`, `B: a dog`, `B - a dog`: refused if the text is another option's.
fn letter_and_text(text: &str, options: &Options) -> Option<Letters> {
    let open = text.trim_start_matches(['(', '[', '*', ' ']);
    let bracketed = open.len() < text.len();
    let end = open.find(|c: char| !c.is_alphanumeric())?;
    let rest = open[end..].trim_start_matches('*').trim_start();
    let mark = rest.starts_with([':', ')', ']', '.', ',', '\u{3001}'])
        || (rest.starts_with("- ") || rest.starts_with("-- "))
        || (rest.starts_with('-') && open[end..].starts_with(' '));
    if !mark {
        return None;
    }
    let letter = upper_letter(&open[..end], options)
        .or_else(|| bracketed.then(|| letter(&open[..end], options))?)?;
    // "A, B" and "A. B" are lists, handled elsewhere.
    let after = rest.trim_start_matches(|c: char| !c.is_alphanumeric());
    let next = after.split(|c: char| !c.is_alphanumeric()).next().unwrap_or("");
    if upper_letter(next, options).is_some() && (after.len() == next.len() || rest.starts_with(',')) {
        return None;
    }
    let words = normal_words(after, false);
    let other = options.texts.iter().position(|t| !t.is_empty() && *t == words).map(|i| &options.letters[i]);
    match other {
        Some(other) if *other != letter => None,
        _ => Some(Letters::from([letter])),
    }
}

/// `A, C`, `A and C`, `A/C`, `AC`: nothing but letters and separators.
fn listed(text: &str, options: &Options) -> Option<Letters> {
    let glued =
        text.len() > 1 && text.len() <= options.letters.len() && text.chars().all(|c| c.is_ascii_uppercase());
    if glued {
        let letters: Option<Vec<String>> =
            text.chars().map(|c| upper_letter(&c.to_string(), options)).collect();
        let letters = letters?;
        // Letters in alphabetical order, each once: a word such as "BAD" is no list.
        return letters.is_sorted_by(|a, b| a < b).then(|| letters.into_iter().collect());
    }
    let mut letters = Letters::new();
    let separator = |c: char| c.is_whitespace() || "/|&,;()[].\"'{}".contains(c);
    for word in text.split(separator).filter(|w| !w.is_empty() && !matches!(*w, "and" | "or")) {
        letters.insert(letter(word, options)?);
    }
    (letters.len() > 1).then_some(letters)
}

/// The first words of an announced answer: "B because", "clearly B. And not C".
fn leading(text: &str, options: &Options) -> Option<Letters> {
    let text = undress(text);
    // What comes after a reason or a contrast is about the other options.
    let end = [". ", " because ", " since ", ", not ", " rather ", " instead "]
        .iter()
        .filter_map(|m| text.find(m))
        .min();
    let sentence = &text[..end.unwrap_or(text.len())];
    let words: Vec<&str> = sentence.split_whitespace().take(6).collect();
    if words.iter().any(|w| matches!(w.to_lowercase().as_str(), "not" | "neither" | "nor" | "isn't")) {
        return None;
    }
    let mut found = Letters::new();
    for (i, word) in words.iter().enumerate() {
        let bare = word.trim_matches(|c: char| !c.is_alphanumeric());
        let Some(letter) = upper_letter(bare, options) else { continue };
        let article = (letter == "A" || letter == "I") && word.len() == bare.len();
        let reason = |w: &str| {
            matches!(w.to_lowercase().as_str(), "because" | "since" | "as" | "is" | "and" | "or" | "so")
        };
        if !article || words.get(i + 1).is_none_or(|w| reason(w)) {
            found.insert(letter);
        }
    }
    (!found.is_empty()).then_some(found)
}

/// "A is the answer", "A is correct", at the beginning of the text.
fn declared(text: &str, options: &Options) -> Option<String> {
    let (word, rest) = text.trim_start().split_once(" is ")?;
    let letter = upper_letter(word.trim_matches(|c: char| !c.is_alphanumeric()), options)?;
    let rest = rest.trim_start_matches("the ");
    ["correct", "right", "answer", "best"].iter().any(|w| rest.starts_with(w)).then_some(letter)
}

/// Capital letters of options that stand alone in running text. "A" and "I" need a mark beside them.
fn loose(text: &str, options: &Options) -> Letters {
    let mut found = Letters::new();
    // Chinese writes letters and characters without blanks between.
    let gap = |c: char| c.is_whitespace() || (!c.is_ascii() && c.is_alphabetic());
    for word in text.split(gap).take(4096) {
        let bare = word.trim_matches(|c: char| !c.is_alphanumeric());
        if let Some(letter) = upper_letter(bare, options) {
            let dressed = word.len() != bare.len() && !word.starts_with(['\'', '"']) || text.trim() == word;
            if dressed || (letter != "A" && letter != "I") {
                found.insert(letter);
            }
        }
    }
    found
}

/// "not B", "B is wrong".
fn denied(text: &str, letters: &Letters) -> bool {
    let lower = folded(text);
    letters.iter().map(|l| l.to_lowercase()).any(|l| {
        [
            format!("not {l}"),
            format!("not ({l}"),
            format!("{l} is wrong"),
            format!("{l} is not"),
            format!("{l} is incorrect"),
        ]
        .iter()
        .any(|p| lower.contains(p.as_str()))
    })
}

/// The one option whose text is in the response as whole words, longer texts first.
fn by_text(text: &str, options: &Options) -> Result<Letters, Reason> {
    let words = normal_words(text, false);
    // A long text that mentions an option in passing answers nothing.
    let longest: usize = options.texts.iter().map(Vec::len).sum();
    if words.len() > 2 * longest + 40 {
        return Err(Reason::Unreadable);
    }
    let mut taken = vec![false; words.len()];
    let mut order: Vec<usize> = (0..options.texts.len()).filter(|i| !options.texts[*i].is_empty()).collect();
    order.sort_by_key(|i| std::cmp::Reverse(options.texts[*i].len()));
    let mut found = Letters::new();
    for i in order {
        let option = &options.texts[i];
        for start in 0..(words.len() + 1).saturating_sub(option.len()) {
            let window = start..start + option.len();
            if words[window.clone()] == option[..] && !taken[window.clone()].contains(&true) {
                taken[window].fill(true);
                found.insert(options.letters[i].clone());
            }
        }
    }
    if words.iter().any(|w| matches!(w.as_str(), "not" | "neither" | "nor" | "isnt")) && !found.is_empty() {
        return Err(Reason::Unreadable);
    }
    match found.len() {
        0 => Err(Reason::Unreadable),
        1 => Ok(found),
        _ => Err(Reason::Several),
    }
}

/// An option's letter in either case, or in the alphabet of a translated set.
fn letter(word: &str, options: &Options) -> Option<String> {
    upper_letter(&word.to_uppercase(), options)
}

fn upper_letter(word: &str, options: &Options) -> Option<String> {
    const OTHER: [(&str, &str); 2] = [("أبجدهوزح", "ABCDEFGH"), ("কখগঘঙচছজ", "ABCDEFGH")];
    let word = match word.chars().next() {
        Some(c) if !c.is_ascii() && word.chars().count() == 1 => OTHER
            .iter()
            .find_map(|(from, to)| from.chars().position(|f| f == c).and_then(|i| to.get(i..=i)))
            .unwrap_or(word),
        _ => word,
    };
    options.letters.iter().find(|l| *l == word).cloned()
}
