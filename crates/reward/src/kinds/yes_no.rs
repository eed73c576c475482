//! Yes or no: the first word of the answer, or the only one of the two that is present as a whole word.

use crate::kinds::anchor;
use crate::record::{Record, TruthError};
use crate::response::Response;
use crate::verdict::{Reason, Tier, Verdict};
use crate::words::folded;

pub(crate) fn yes_no(record: &Record) -> Result<Verdict, TruthError> {
    let mut truths = record.golds.iter().map(|g| truth(g));
    let Some(first) = truths.next() else { return Err(TruthError::Empty) };
    let (gold, booleans) = first?;
    for other in truths {
        if other?.0 != gold {
            return Err(TruthError::malformed("yes and no at once", "one of yes and no"));
        }
    }
    let name = |yes: bool| if yes { "yes" } else { "no" };
    let response = Response::parse(&record.pred);
    let piece = match response.short(record.opts.extract) {
        Ok(piece) => piece,
        Err(reason) => return Ok(Verdict::reject(reason, Tier::Extraction).with(name(gold), "")),
    };
    let announced = anchor::payload(piece).and_then(|p| polarity(p.text, booleans).ok());
    let said = announced.map_or_else(|| polarity(piece.text, booleans), Ok);
    Ok(match said {
        Ok(said) => Verdict::of(said == gold, Tier::Rule).with(name(gold), name(said)),
        Err(reason) => Verdict::reject(reason, Tier::Rule).with(name(gold), ""),
    }
    .at(piece.span()))
}

/// The truth's polarity, and whether it is spelled true or false.
fn truth(gold: &str) -> Result<(bool, bool), TruthError> {
    match folded(gold).trim_matches(|c: char| !c.is_alphanumeric()) {
        "yes" | "y" => Ok((true, false)),
        "no" | "n" => Ok((false, false)),
        "true" => Ok((true, true)),
        "false" => Ok((false, true)),
        "" => Err(TruthError::Empty),
        _ => Err(TruthError::malformed(gold, "yes, no, true or false")),
    }
}

/// The one polarity of a text. "There is no cat" after "Yes," denies a cat, not the answer: the second word counts only
/// where it stands as an answer does, before a mark, an end, or after "or" and "and".
fn polarity(text: &str, booleans: bool) -> Result<bool, Reason> {
    let lower = folded(text);
    let value = |w: &str| match w {
        "yes" => Some(true),
        "no" => Some(false),
        "true" if booleans => Some(true),
        "false" if booleans => Some(false),
        _ => None,
    };
    let mut first = None;
    let mut both = false;
    let mut previous = "";
    let mut index = 0;
    for token in lower.split([' ', '/', '\n']).filter(|t| !t.is_empty()) {
        let word = token.trim_matches(|c: char| !c.is_alphanumeric());
        if let Some(v) = value(word) {
            let stands = !token.ends_with(char::is_alphanumeric) || matches!(previous, "or" | "and");
            let last = lower.ends_with(token);
            match first {
                None => first = Some((v, index == 0)),
                Some((f, at_start)) if f != v => both |= !at_start || stands || last,
                Some(_) => {}
            }
        }
        if !word.is_empty() {
            previous = word;
            index += 1;
        }
    }
    match first {
        Some(_) if both => Err(Reason::Several),
        Some((v, _)) => Ok(v),
        None => Err(Reason::Unreadable),
    }
}
