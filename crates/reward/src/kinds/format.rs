//! The tags of a response, by one of the published rules. No pattern matching: tags are counted and their order checked.

use crate::record::{Record, TruthError};
use crate::verdict::{Reason, Tier, Verdict};

/// A published format rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Style {
    /// WeThink and EasyR1's r1v: one think, then one answer, nothing else; neither of them empty.
    WeThink,
    /// TRL's `think_format_reward`: begins with one think that closes.
    Trl,
    /// open-r1's `format_reward`: as WeThink, each tag on a line of its own.
    OpenR1,
    /// open-r1's `tag_count_reward`: a quarter for each tag that is there once.
    TagCount,
    /// EasyR1's `math.py`: a think, then a box.
    Boxed,
}

fn style(record: &Record) -> Result<Style, TruthError> {
    let Some(gold) = record.golds.first() else { return Ok(Style::WeThink) };
    let name: String = gold.to_lowercase().chars().filter(char::is_ascii_alphanumeric).collect();
    match name.as_str() {
        "" | "wethink" | "r1v" | "easyr1" | "thinkanswer" => Ok(Style::WeThink),
        "trl" | "think" | "thinkformat" => Ok(Style::Trl),
        "openr1" => Ok(Style::OpenR1),
        "tagcount" => Ok(Style::TagCount),
        "boxed" | "easyr1math" | "math" => Ok(Style::Boxed),
        _ => Err(TruthError::malformed(gold, "a format: wethink, trl, open_r1, tag_count or boxed")),
    }
}

/// Whether a response has the form WeThink's system prompt asks for; what [`crate::score`] adds to accuracy.
pub(crate) fn has_wethink_form(text: &str) -> bool {
    conforms(Style::WeThink, text)
}

pub(crate) fn format(record: &Record) -> Result<Verdict, TruthError> {
    let style = style(record)?;
    let verdict = match style {
        Style::TagCount => {
            let tags = ["<think>\n", "\n</think>\n", "\n<answer>\n", "\n</answer>"];
            let score = 0.25 * tags.iter().filter(|t| record.pred.matches(**t).count() == 1).count() as f64;
            Verdict::graded(score, score >= record.opts.threshold.unwrap_or(1.0))
        }
        style if conforms(style, &record.pred) => Verdict::accept(Tier::Rule),
        _ => Verdict::reject(Reason::BadFormat, Tier::Rule),
    };
    Ok(verdict.with(format!("{style:?}").to_lowercase(), ""))
}

fn conforms(style: Style, text: &str) -> bool {
    match style {
        Style::WeThink => parts(text.trim(), "<think>", "</think>", "<answer>", "</answer>")
            .is_some_and(|(t, gap, a)| gap.trim().is_empty() && !t.trim().is_empty() && !a.trim().is_empty()),
        Style::OpenR1 => parts(text, "<think>\n", "\n</think>", "<answer>\n", "\n</answer>")
            .is_some_and(|(_, gap, _)| gap == "\n"),
        Style::Trl => {
            let close = text.find("</think>");
            text.starts_with("<think>") && close.is_some() && text.matches("<think>").count() == 1
        }
        Style::Boxed => {
            let close = text.find("</think>").unwrap_or(0);
            text.trim().starts_with("<think>") && close > 0 && {
                let rest = &text[close..];
                rest.find("\\boxed{").is_some_and(|b| rest[b..].contains('}'))
            }
        }
        Style::TagCount => false,
    }
}

/// Thought, gap and answer of a text that is `open THOUGHT close GAP open ANSWER close` with each tag once.
fn parts<'a>(text: &'a str, to: &str, tc: &str, ao: &str, ac: &str) -> Option<(&'a str, &'a str, &'a str)> {
    let rest = text.strip_prefix(to)?;
    let (think, rest) = rest.split_once(tc)?;
    let (gap, rest) = rest.split_once(ao)?;
    let answer = rest.strip_suffix(ac)?;
    let once = ["<think>", "</think>", "<answer>", "</answer>"].iter().all(|t| text.matches(t).count() == 1);
    once.then_some((think, gap, answer))
}
