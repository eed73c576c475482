//! A response and a truth to a verdict.
//!
//! The rule half of WeThink's hybrid reward: [`verify`] reads a [`Record`] (kind, truths, response, options) and says
//! accept, reject or unsure with a score, a reason and what it understood of both sides; [`score`] weighs that with format,
//! length and repetition into a reward. Rule accepts and certain rejects are final; what is unsure is for a judge
//! ([`judge`]), and people's labels ([`Label`]) measure both.
//!
//! Two sides are treated differently throughout. A bad *truth* is a [`TruthError`]: somebody must mend the data. A bad
//! *response* is a verdict: whatever a policy writes, it gets an answer, in bounded steps ([`FUEL`]), without recursion
//! beyond a fixed depth and without evaluating anything but arithmetic. The same input gives the same bits on every
//! target: there is no clock, no thread, no random source and no transcendental function of the platform here.
//!
//! Deliberately absent: tokenizers, models, network, files, regular expressions over a response.

mod agreement;
pub mod judge;
mod key;
mod kind;
mod kinds;
mod label;
mod math;
mod policy;
mod record;
mod response;
#[cfg(all(test, not(target_arch = "wasm32")))]
mod tables;
mod verdict;
mod words;

pub use agreement::{Confusion, Kappa};
pub use key::{Key, KeyError};
pub use kind::{Kind, MapError, RewardMap, UnknownKind};
pub use label::{Choice, Label, LabelError};
pub use math::fuel::FUEL;
pub use policy::{Overlong, Policy, Repetition, Score, score, weigh};
pub use record::{Extract, Iou, MAX_TRUTH, Matching, Opts, Percent, Record, TruthError, Units};
pub use response::{MAX_RESPONSE, Piece, Response};
pub use verdict::{Decision, Reason, Tier, Verdict};

/// Compares a row's response with its truth.
///
/// # Errors
/// The truth is empty, too long, or not what the kind needs. Never because of the response.
pub fn verify(record: &Record) -> Result<Verdict, TruthError> {
    match record.kind {
        Kind::Math => math::math(record),
        Kind::Number => math::number(record),
        Kind::Count => kinds::number::count(record),
        Kind::Mcq => kinds::choice::mcq(record),
        Kind::YesNo => kinds::yes_no::yes_no(record),
        Kind::Text => kinds::text::text(record),
        Kind::Anls => kinds::edit::anls(record),
        Kind::EditRatio => kinds::edit::edit_ratio(record),
        Kind::Cer => kinds::edit::cer(record),
        Kind::Wer => kinds::edit::wer(record),
        Kind::F1 => kinds::text::f1(record),
        Kind::Relaxed => kinds::number::relaxed(record),
        Kind::Vqa => kinds::text::vqa(record),
        Kind::Box => kinds::boxes::one(record),
        Kind::Boxes => kinds::boxes::set(record),
        Kind::Point => kinds::point::point(record),
        Kind::Format => kinds::format::format(record),
        Kind::Open => Ok(kinds::text::open(record)),
    }
}
