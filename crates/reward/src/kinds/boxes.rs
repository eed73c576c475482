//! One box by overlap, or a set of boxes matched one to one.

use crate::kinds::geometry::{self, Found, MAX_BOXES, Region};
use crate::record::{Iou, Record, TruthError};
use crate::response::{Piece, Response};
use crate::verdict::{Reason, Tier, Verdict};

const NEEDED: &str = "a box [x1, y1, x2, y2] with finite x1 ≤ x2, y1 ≤ y2";

/// Intersection over union in continuous coordinates. Boxes without area overlap fully with themselves only.
pub(crate) fn iou(a: &[f64; 4], b: &[f64; 4]) -> f64 {
    let (inter, union) = inter_union(a, b);
    match union > 0.0 {
        true => inter / union,
        false => f64::from(a == b),
    }
}

/// IoU − (hull − union) / hull (Rezatofighi et al., CVPR 2019), in [−1, 1].
pub(crate) fn giou(a: &[f64; 4], b: &[f64; 4]) -> f64 {
    let hull = (a[2].max(b[2]) - a[0].min(b[0])) * (a[3].max(b[3]) - a[1].min(b[1]));
    let (_, union) = inter_union(a, b);
    if hull > 0.0 { iou(a, b) - (hull - union) / hull } else { iou(a, b) }
}

fn inter_union(a: &[f64; 4], b: &[f64; 4]) -> (f64, f64) {
    let width = (a[2].min(b[2]) - a[0].max(b[0])).max(0.0);
    let height = (a[3].min(b[3]) - a[1].max(b[1])).max(0.0);
    let area = |r: &[f64; 4]| (r[2] - r[0]) * (r[3] - r[1]);
    let inter = width * height;
    (inter, area(a) + area(b) - inter)
}

fn overlap(a: &[f64; 4], b: &[f64; 4], measure: Iou) -> f64 {
    match measure {
        Iou::Iou => iou(a, b),
        Iou::Giou => giou(a, b).max(0.0),
    }
}

/// The answer's boxes, or the verdict that there are none.
fn answer<'a>(record: &'a Record, gold: &str) -> Result<(Piece<'a>, Found), Box<Verdict>> {
    let reject = |reason| Box::new(Verdict::reject(reason, Tier::Extraction).with(gold, ""));
    let piece = Response::parse(&record.pred).short(record.opts.extract).map_err(reject)?;
    let found = geometry::boxes(piece.text);
    match () {
        () if found.malformed => Err(reject(Reason::Unreadable)),
        () if found.flood => Err(reject(Reason::Limit)),
        () => Ok((piece, found)),
    }
}

/// Truth and answer in one scale: a notation with its own scale is brought to [0, 1] where the other side is.
fn rescaled(region: &Region, unit: bool) -> [f64; 4] {
    match region.scale {
        Some(scale) if unit => region.corners.map(|c| c / scale),
        _ => region.corners,
    }
}

fn in_unit(regions: &[Region]) -> bool {
    regions.iter().all(|r| r.corners.iter().all(|c| c.abs() <= 1.0))
}

fn show(regions: &[Region]) -> String {
    regions.iter().map(|r| format!("{:?}", r.corners)).collect::<Vec<_>>().join(" ")
}

/// The best overlap of the one box of the answer with a truth; several boxes for one truth are a rejection.
pub(crate) fn one(record: &Record) -> Result<Verdict, TruthError> {
    let mut truths = Vec::new();
    for gold in &record.golds {
        let mut found = geometry::boxes(gold);
        match (found.malformed, found.regions.pop(), found.regions.is_empty()) {
            (false, Some(region), true) => truths.push(region),
            _ => return Err(TruthError::malformed(gold, NEEDED)),
        }
    }
    if truths.is_empty() {
        return Err(TruthError::Empty);
    }
    let gold = show(&truths);
    let (piece, found) = match answer(record, &gold) {
        Ok(found) => found,
        Err(verdict) => return Ok(*verdict),
    };
    let unit = in_unit(&truths);
    let Some(first) = found.regions.first() else {
        return Ok(Verdict::reject(Reason::Unreadable, Tier::Rule).with(gold, "").at(piece.span()));
    };
    if found.regions.iter().any(|r| r.corners != first.corners) {
        return Ok(Verdict::reject(Reason::Several, Tier::Rule)
            .with(gold, show(&found.regions))
            .at(piece.span()));
    }
    let pred = rescaled(first, unit);
    let score =
        truths.iter().map(|t| overlap(&rescaled(t, unit), &pred, record.opts.iou)).fold(0.0, f64::max);
    let passes = score >= record.opts.threshold.unwrap_or(0.5);
    Ok(Verdict::graded(score, passes).with(gold, format!("{pred:?}")).at(piece.span()))
}

/// F1 of boxes matched one to one at an overlap of 0.5, labels equal where both have one.
///
/// A maximum matching, so no order of the answer earns more than another; a flood of boxes lowers the precision.
pub(crate) fn set(record: &Record) -> Result<Verdict, TruthError> {
    let mut truths = Vec::new();
    for gold in &record.golds {
        let found = geometry::boxes(gold);
        let none = gold.trim() == "[]" || gold.trim().eq_ignore_ascii_case("none");
        if found.malformed || found.flood || (found.regions.is_empty() && !none) {
            return Err(TruthError::malformed(gold, "a list of boxes [x1, y1, x2, y2], or [] for none"));
        }
        truths.extend(found.regions);
    }
    if record.golds.is_empty() {
        return Err(TruthError::Empty);
    }
    if truths.len() > MAX_BOXES {
        return Err(TruthError::TooLong { field: "gold", bytes: record.golds.iter().map(String::len).sum() });
    }
    let gold = show(&truths);
    let (piece, found) = match answer(record, &gold) {
        Ok(found) => found,
        Err(verdict) => return Ok(*verdict),
    };
    let said_none = piece.text.trim() == "[]" || piece.text.trim().eq_ignore_ascii_case("none");
    let score = match (truths.len(), found.regions.len()) {
        (0, 0) if said_none => 1.0,
        (_, 0) | (0, _) => 0.0,
        (t, p) => 2.0 * matched(&truths, &found.regions, record.opts.iou) as f64 / (t + p) as f64,
    };
    let passes = score >= record.opts.threshold.unwrap_or(0.5);
    Ok(Verdict::graded(score, passes).with(gold, show(&found.regions)).at(piece.span()))
}

/// Size of a maximum bipartite matching (Kuhn); both sides are at most [`MAX_BOXES`].
fn matched(truths: &[Region], preds: &[Region], measure: Iou) -> usize {
    let unit = in_unit(truths);
    let edges: Vec<Vec<usize>> = truths
        .iter()
        .map(|t| {
            let labels = |p: &Region| t.label.is_none() || p.label.is_none() || t.label == p.label;
            let fits = |p: &Region| overlap(&rescaled(t, unit), &rescaled(p, unit), measure) >= 0.5;
            (0..preds.len()).filter(|j| labels(&preds[*j]) && fits(&preds[*j])).collect()
        })
        .collect();
    matching(&edges, preds.len())
}

/// Maximum number of left nodes matched to distinct right nodes. Recursion is as deep as the left side is long.
pub(crate) fn matching(edges: &[Vec<usize>], right: usize) -> usize {
    fn augment(left: usize, edges: &[Vec<usize>], seen: &mut [bool], owner: &mut [Option<usize>]) -> bool {
        for &j in &edges[left] {
            if !std::mem::replace(&mut seen[j], true)
                && owner[j].is_none_or(|other| augment(other, edges, seen, owner))
            {
                owner[j] = Some(left);
                return true;
            }
        }
        false
    }
    let mut owner = vec![None; right];
    (0..edges.len()).filter(|left| augment(*left, edges, &mut vec![false; right], &mut owner)).count()
}
