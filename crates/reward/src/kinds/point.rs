//! A point near the truth's point, or inside the truth's box.

use crate::kinds::geometry;
use crate::record::{Record, TruthError};
use crate::response::Response;
use crate::verdict::{Reason, Tier, Verdict};

/// Radius where the truth is in [0, 1] and the row gives none.
const RADIUS: f64 = 0.15;

/// Near a point: (1 − d / radius)², 0 from the radius on (the radius is `opts.tolerance`); in a box: 1.
///
/// A truth in [0, 1] and an answer beyond it: the answer is in thousandths, as pointing models write.
pub(crate) fn point(record: &Record) -> Result<Verdict, TruthError> {
    let Some(gold) = record.golds.first() else { return Err(TruthError::Empty) };
    let truth = geometry::numbers(gold, 5);
    let finite = truth.iter().all(|n| n.is_finite());
    let ordered = truth.len() != 4 || (truth[0] <= truth[2] && truth[1] <= truth[3]);
    if !matches!(truth.len(), 2 | 4) || !finite || !ordered || gold.to_lowercase().contains("nan") {
        return Err(TruthError::malformed(gold, "a point x, y or a box x1, y1, x2, y2"));
    }
    let gold = format!("{truth:?}");
    let piece = match Response::parse(&record.pred).short(record.opts.extract) {
        Ok(piece) => piece,
        Err(reason) => return Ok(Verdict::reject(reason, Tier::Extraction).with(gold, "")),
    };
    let said = match (piece.text.find("<point"), piece.text.rfind("</point>")) {
        (Some(start), Some(end)) if start < end => &piece.text[start..end],
        _ => piece.text,
    };
    let numbers = geometry::numbers(said, 3);
    let [x, y] = numbers[..] else {
        let reason = if numbers.len() > 2 { Reason::Several } else { Reason::Unreadable };
        return Ok(Verdict::reject(reason, Tier::Rule).with(gold, "").at(piece.span()));
    };
    let unit = truth.iter().all(|n| n.abs() <= 1.0);
    let scale = if unit && (x.abs() > 1.0 || y.abs() > 1.0) { 1000.0 } else { 1.0 };
    let (x, y) = (x / scale, y / scale);
    let score = match truth[..] {
        [tx, ty] => {
            let radius = record.opts.tolerance.unwrap_or(if unit { RADIUS } else { 1000.0 * RADIUS });
            let distance = ((x - tx) * (x - tx) + (y - ty) * (y - ty)).sqrt();
            let near =
                if radius > 0.0 { (1.0 - distance / radius).max(0.0) } else { f64::from(distance == 0.0) };
            near * near
        }
        [x1, y1, x2, y2] => f64::from(x1 <= x && x <= x2 && y1 <= y && y <= y2),
        _ => 0.0,
    };
    let passes = record.opts.threshold.map_or(score > 0.0, |t| score >= t);
    Ok(Verdict::graded(score, passes).with(gold, format!("[{x:?}, {y:?}]")).at(piece.span()))
}
