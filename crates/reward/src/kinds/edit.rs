//! Edit distances: ANLS, Levenshtein ratio, character and word error rates.

use std::collections::HashMap;

use rapidfuzz::distance::{indel, levenshtein};

use crate::record::{Record, TruthError};
use crate::response::{Piece, Response};
use crate::verdict::{Reason, Tier, Verdict};
use crate::words::{collapse, plain};

/// Characters of one side. Distances cost a · b / 64 steps.
const MAX_CHARS: usize = 16 * 1024;

/// Truth and answer, prepared, and the number of characters before that.
struct Pair<'a> {
    gold: &'a str,
    pred: &'a str,
    /// As written, where the dataset divides by that.
    raw: Option<usize>,
}

/// One measure: the score of (truth, answer), both prepared, and whether a score passes.
struct Measure {
    prepare: fn(&str, bool) -> String,
    /// Case matters unless `opts.case` says otherwise.
    case: bool,
    score: fn(&Pair) -> f64,
    passes: fn(f64, Option<f64>) -> bool,
}

/// Average normalised Levenshtein similarity (Biten et al., ICCV 2019): 1 − d / max length, below 0.5 counted as 0,
/// best truth; lower case, blanks collapsed.
pub(crate) fn anls(record: &Record) -> Result<Verdict, TruthError> {
    graded(
        record,
        &Measure { prepare: tidy, case: false, score: similarity, passes: |s, t| s >= t.unwrap_or(0.5) },
    )
}

/// `Levenshtein.ratio` of the C library of that name: (a + b − indel distance) / (a + b).
pub(crate) fn edit_ratio(record: &Record) -> Result<Verdict, TruthError> {
    let score = |p: &Pair| {
        let total = (p.gold.chars().count() + p.pred.chars().count()) as f64;
        (total - indel::distance(p.gold.chars(), p.pred.chars()) as f64) / total
    };
    graded(record, &Measure { prepare: trim, case: true, score, passes: |s, t| s >= t.unwrap_or(1.0) })
}

/// 1 − (character edits / characters of the truth); accepts at an error rate of 0, or up to `threshold`.
pub(crate) fn cer(record: &Record) -> Result<Verdict, TruthError> {
    let score =
        |p: &Pair| error_rate(levenshtein::distance(p.gold.chars(), p.pred.chars()), p.gold.chars().count());
    graded(record, &Measure { prepare: trim, case: true, score, passes: within_error })
}

/// 1 − (word edits / words of the truth); accepts at an error rate of 0, or up to `threshold`.
pub(crate) fn wer(record: &Record) -> Result<Verdict, TruthError> {
    let score = |p: &Pair| {
        // Words as numbers, so that a word costs what a character does.
        let mut ids: HashMap<&str, u32> = HashMap::new();
        let mut numbered = Vec::new();
        for word in p.gold.split(' ').chain(p.pred.split(' ')) {
            let next = ids.len() as u32;
            numbered.push(*ids.entry(word).or_insert(next));
        }
        let (gold, pred) = numbered.split_at(p.gold.split(' ').count());
        error_rate(levenshtein::distance(gold.iter().copied(), pred.iter().copied()), gold.len())
    };
    graded(record, &Measure { prepare: tidy, case: true, score, passes: within_error })
}

fn error_rate(edits: usize, length: usize) -> f64 {
    1.0 - edits as f64 / length.max(1) as f64
}

fn within_error(score: f64, threshold: Option<f64>) -> bool {
    // The error rate itself, not 1 − score, would round differently at the border: compare scores.
    score >= 1.0 - threshold.unwrap_or(0.0)
}

fn similarity(p: &Pair) -> f64 {
    let distance = levenshtein::distance(p.gold.chars(), p.pred.chars()) as f64;
    let length = p.raw.unwrap_or_else(|| p.gold.chars().count().max(p.pred.chars().count()));
    let similarity = 1.0 - distance / length.max(1) as f64;
    if similarity < 0.5 { 0.0 } else { similarity }
}

fn tidy(text: &str, case: bool) -> String {
    let text = collapse(&plain(text));
    if case { text } else { text.to_lowercase() }
}

fn trim(text: &str, case: bool) -> String {
    let text = text.trim();
    if case { text.to_owned() } else { text.to_lowercase() }
}

fn graded(record: &Record, measure: &Measure) -> Result<Verdict, TruthError> {
    let case = record.opts.case.unwrap_or(measure.case);
    let golds: Vec<String> = record.golds.iter().map(|g| (measure.prepare)(g, case)).collect();
    if golds.is_empty() || golds.iter().any(String::is_empty) {
        return Err(TruthError::Empty);
    }
    if let Some(long) = golds.iter().find(|g| g.chars().count() > MAX_CHARS) {
        return Err(TruthError::TooLong { field: "gold", bytes: long.len() });
    }
    let piece: Piece<'_> = match Response::parse(&record.pred).short(record.opts.extract) {
        Ok(piece) => piece,
        Err(reason) => return Ok(Verdict::reject(reason, Tier::Extraction).with(golds.join(" | "), "")),
    };
    let pred = (measure.prepare)(piece.text, case);
    if pred.chars().count() > MAX_CHARS {
        return Ok(Verdict::reject(Reason::Limit, Tier::Extraction)
            .with(golds.join(" | "), "")
            .at(piece.span()));
    }
    let raw = |gold: &str| gold.chars().count().max(piece.text.chars().count());
    let pairs = golds.iter().zip(&record.golds).map(|(gold, written)| Pair {
        gold,
        pred: &pred,
        // As VLMEvalKit and lmms-eval do.
        raw: record.opts.raw_length.then(|| raw(written)),
    });
    let score = pairs.map(|p| (measure.score)(&p)).fold(0.0, f64::max);
    let passes = (measure.passes)(score, record.opts.threshold);
    Ok(Verdict::graded(score, passes).with(golds.join(" | "), pred).at(piece.span()))
}
