//! The curves of a run of GRPO.

use std::fmt::Write as _;

use anyhow::Result;
use serde_json::Value;

use crate::train::report::{curve, plot};

/// What is drawn: a title, and where the values stand in a line of `metrics.jsonl`.
const CURVES: [(&str, &[&str]); 14] = [
    ("Reward and accuracy", &["/reward/all/mean", "/reward/accuracy/mean"]),
    ("Share of held-out answers accepted", &["/validation/accuracy"]),
    ("Form, and penalty for length", &["/reward/format/mean", "/reward/overlong/mean"]),
    ("Deviation of rewards and of accuracy", &["/reward/all/std", "/reward/accuracy/std"]),
    ("Tokens of a response: mean and longest", &["/length/mean", "/length/max"]),
    ("Share of responses cut off", &["/length/truncated"]),
    ("Entropy", &["/entropy"]),
    ("Divergence from the reference, and of an update", &["/kl_reference", "/kl_old"]),
    ("Share of tokens clipped, and at the dual clip", &["/clipped", "/clipped_dual"]),
    ("Norm of the gradient", &["/norm"]),
    ("Sampling against training: mean and largest", &["/mismatch_mean", "/mismatch_max"]),
    ("Prompts sampled, and without signal", &["/groups/sampled", "/groups/without_signal"]),
    ("Share of questions on which the judge's orders disagree", &["/judge/disagreement"]),
    ("Tokens per second: sampling and updates", &["/tokens_per_second/rollout", "/tokens_per_second/update"]),
];

/// Width and height of a figure: what a narrow screen shows without shrinking its letters to nothing.
const SIZE: (u32, u32) = (480, 260);

/// The curves that there are, as figures.
pub(crate) fn curves(page: &mut String, lines: &[Value]) -> Result<()> {
    *page += "<div class=\"curves\">";
    for (title, pointers) in CURVES {
        let curves: Vec<Vec<(f64, f64)>> = pointers.iter().map(|pointer| curve(lines, pointer)).collect();
        if curves.iter().any(|curve| !curve.is_empty()) {
            writeln!(
                page,
                "<figure><figcaption>{title}</figcaption>{}</figure>",
                plot(pointers, &curves, SIZE)?
            )?;
        }
    }
    *page += "</div>\n";
    Ok(())
}
