//! Words: normalised equality with aliases, token F1, and agreement with several annotators.

use std::collections::BTreeMap;

use crate::kinds::anchor;
use crate::record::{Matching, Record, TruthError};
use crate::response::{Piece, Response};
use crate::verdict::{Reason, Tier, Verdict};
use crate::words::normal_words;

/// Words of an answer that are compared; a longer answer is no short text.
const MAX_WORDS: usize = 4096;

/// The short answer of a response and its words, or the verdict that there is none.
fn answer(record: &Record) -> Result<(Piece<'_>, Vec<String>), Box<Verdict>> {
    let reject =
        |reason| Box::new(Verdict::reject(reason, Tier::Extraction).with(record.golds.join(" | "), ""));
    let piece = Response::parse(&record.pred).short(record.opts.extract).map_err(reject)?;
    let words = normal_words(piece.text, record.opts.case.unwrap_or(false));
    match words.len() {
        0 => Err(reject(Reason::Empty)),
        n if n > MAX_WORDS => Err(reject(Reason::Limit)),
        _ => Ok((piece, words)),
    }
}

/// The words of every truth; a truth without words is an error.
fn truths(record: &Record) -> Result<Vec<Vec<String>>, TruthError> {
    if record.golds.is_empty() {
        return Err(TruthError::Empty);
    }
    let case = record.opts.case.unwrap_or(false);
    record
        .golds
        .iter()
        .map(|gold| match normal_words(gold, case) {
            words if words.is_empty() => Err(TruthError::Empty),
            words => Ok(words),
        })
        .collect()
}

/// A text against any of the truths, as `opts.match` says.
pub(crate) fn text(record: &Record) -> Result<Verdict, TruthError> {
    match record.opts.matching {
        Matching::Normalised => normalised(record),
        Matching::Exact => {
            literal(record, |piece, _| record.golds.iter().any(|gold| gold.trim() == piece.text))
        }
        Matching::Contains => {
            let truths = truths(record)?;
            literal(record, |_, words| {
                truths.iter().any(|truth| words.windows(truth.len()).any(|run| run == truth.as_slice()))
            })
        }
    }
}

/// Accepts or rejects by a test that leaves no doubt.
fn literal(
    record: &Record,
    equals: impl FnOnce(Piece<'_>, &[String]) -> bool,
) -> Result<Verdict, TruthError> {
    truths(record)?;
    let (piece, words) = match answer(record) {
        Ok(found) => found,
        Err(verdict) => return Ok(*verdict),
    };
    let verdict = match equals(piece, &words) {
        true => Verdict::accept(Tier::Words),
        false => Verdict::reject(Reason::Different, Tier::Words),
    };
    Ok(verdict.with(record.golds.join(" | "), words.join(" ")).at(piece.span()))
}

/// Equal words to any truth. Other words are `unsure`, since they may mean the same; other numbers are a rejection.
fn normalised(record: &Record) -> Result<Verdict, TruthError> {
    let truths = truths(record)?;
    let (piece, words) = match answer(record) {
        Ok(found) => found,
        Err(verdict) => return Ok(*verdict),
    };
    let case = record.opts.case.unwrap_or(false);
    let announced = anchor::payload(piece).map(|p| normal_words(p.text, case));
    let equals = |said: &Vec<String>| {
        let glued = said.concat();
        truths.iter().zip(&record.golds).any(|(truth, gold)| {
            // "seabed" and "sea-bed"; "Paris (France)" and "Paris".
            truth == said
                || truth.concat() == glued
                || without_parenthesis(gold, case).is_some_and(|t| t == *said)
        })
    };
    let gold = truths.iter().map(|t| t.join(" ")).collect::<Vec<_>>().join(" | ");
    let pred = words.join(" ");
    let verdict = if equals(&words) || announced.as_ref().is_some_and(equals) {
        Verdict::accept(Tier::Words)
    } else if numeric(&words) && truths.iter().all(|t| numeric(t)) {
        Verdict::reject(Reason::Different, Tier::Words)
    } else {
        Verdict::unsure(Reason::Different, Tier::Words)
    };
    Ok(verdict.with(gold, pred).at(piece.span()))
}

fn numeric(words: &[String]) -> bool {
    words.iter().all(|w| w.chars().all(|c| c.is_ascii_digit() || ".-%".contains(c)))
}

fn without_parenthesis(gold: &str, case: bool) -> Option<Vec<String>> {
    let open = gold.find('(')?;
    let close = open + gold[open..].find(')')?;
    let words = normal_words(&format!("{} {}", &gold[..open], &gold[close + 1..]), case);
    (!words.is_empty()).then_some(words)
}

/// Harmonic mean of precision and recall over words as a multiset (Rajpurkar et al., SQuAD, 2016); best truth counts.
pub(crate) fn f1(record: &Record) -> Result<Verdict, TruthError> {
    let truths = truths(record)?;
    let (piece, words) = match answer(record) {
        Ok(found) => found,
        Err(verdict) => return Ok(*verdict),
    };
    let score = truths.iter().map(|truth| word_f1(truth, &words)).fold(0.0, f64::max);
    let gold = truths.iter().map(|t| t.join(" ")).collect::<Vec<_>>().join(" | ");
    let passes = score >= record.opts.threshold.unwrap_or(1.0);
    Ok(Verdict::graded(score, passes).with(gold, words.join(" ")).at(piece.span()))
}

fn word_f1(truth: &[String], words: &[String]) -> f64 {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for word in truth {
        *counts.entry(word).or_default() += 1;
    }
    let common = words
        .iter()
        .filter(|w| match counts.get_mut(w.as_str()) {
            Some(n) if *n > 0 => {
                *n -= 1;
                true
            }
            _ => false,
        })
        .count();
    // 2PR / (P + R) with P = c/|words|, R = c/|truth|, in the form that is exact for a full match.
    2.0 * common as f64 / (truth.len() + words.len()) as f64
}

/// VQA accuracy (Antol et al., 2015): leave one annotator out, min(matches among the others / 3, 1), the mean over all.
///
/// With one annotator there is nobody to leave out: equality decides.
pub(crate) fn vqa(record: &Record) -> Result<Verdict, TruthError> {
    let truths = truths(record)?;
    let (piece, words) = match answer(record) {
        Ok(found) => found,
        Err(verdict) => return Ok(*verdict),
    };
    let matches = truths.iter().filter(|t| **t == words).count();
    let n = truths.len();
    let score = match n {
        1 => matches as f64,
        _ => {
            let with = |m: usize| (m as f64 / 3.0).min(1.0);
            let own = matches as f64 * with(matches.saturating_sub(1));
            (own + (n - matches) as f64 * with(matches)) / n as f64
        }
    };
    let passes = score >= record.opts.threshold.unwrap_or(0.5);
    let gold = truths.iter().map(|t| t.join(" ")).collect::<Vec<_>>().join(" | ");
    Ok(Verdict::graded(score, passes).with(gold, words.join(" ")).at(piece.span()))
}

/// Free text: nothing but an empty or unfinished answer is decided by rule.
pub(crate) fn open(record: &Record) -> Verdict {
    match answer(record) {
        Err(verdict) => *verdict,
        Ok((piece, words)) => {
            let gold = record.golds.join(" | ");
            Verdict::unsure(Reason::ForJudge, Tier::Judge).with(gold, words.join(" ")).at(piece.span())
        }
    }
}
