//! The judge: a model is asked where no rule decides, and is not trusted further than that.
//!
//! ```text
//! verdict ── final ──────────────────────────────────────────────► stays
//!     └──── unsure ── pre-filter ── refused ─────────────────────► reject
//!                         └──────── Question ── Judge, both orders ── Opinion ── capped ─► accept or reject
//!                                                    └── fails ──► unscored, never 0
//! ```
//!
//! A rule's accept and a rule's reject are final: a judge cannot be talked into 42 = 43. The judge sees the question, the
//! truth and the extracted answer, never the thinking; each stands between fences that carry a nonce of the content and a
//! seed, which a policy cannot know. Short answers and lists are asked about twice, with the sides swapped, and must be the
//! same both times; a description is held against the truth's facts one by one and earns in quarters. What a judge
//! accepts earns at most [`crate::Policy::judge_cap`], so that an answer a rule can check is never worth less. Canaries are
//! questions with an answer that is known to be wrong; a judge that accepts one is believed in nothing.
//!
//! No network and no model here: whoever can answer an [`Ask`] is a [`Judge`].

mod canary;
mod filter;
mod opinion;
mod prompt;
#[cfg(test)]
mod tests;

pub use canary::{CANARY_SHARE, canary_due};
pub use opinion::{Fact, Garbled, Opinion, Reply, opinion};
pub use prompt::{Ask, Expect, Form};

use crate::key::Key;
use crate::kind::Kind;
use crate::record::Record;
use crate::response::Response;
use crate::verdict::{Decision, Reason, Verdict};

/// Bytes of question, truths and answer together that a judge is asked about.
pub const MAX_ASKED: usize = 32 * 1024;

/// Facts of a description that are asked about; more are put together.
const MAX_FACTS: usize = 12;

/// Words from which an open truth is a description rather than a short answer.
const MANY_WORDS: usize = 16;

/// Somebody who answers [`Ask`]s: a server, a model at hand, a table in a test.
pub trait Judge {
    /// Why no answer came. It leaves the case unscored.
    type Error;

    /// How this judge can reply.
    fn form(&self) -> Form;

    /// Answers one ask. A reply that [`Expect::read`] cannot read is an error, not a No.
    fn answer(&self, ask: &Ask) -> impl Future<Output = Result<Reply, Self::Error>> + Send;
}

/// How a truth is compared with a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Task {
    /// The same meaning, at the precision asked for.
    Short,
    /// The same items, none missing and none added.
    List,
    /// Facts of the truth, each present, absent or contradicted.
    Description,
}

/// One case for a judge.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Question {
    /// How to compare.
    pub task: Task,
    /// What was asked.
    pub problem: String,
    /// The truths; for a description its facts.
    pub references: Vec<String>,
    /// The extracted answer.
    pub candidate: String,
    nonce: String,
}

/// Where a verdict goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// The rule decided.
    Final,
    /// No judge need be asked: the answer is none, or is made for a judge. The reason goes into [`Verdict::refused`].
    Refused(Reason),
    /// A judge decides.
    Ask(Question),
    /// No judge can be asked, for this reason; the case stays unscored.
    Nothing(&'static str),
}

/// Where `verdict`, which is [`crate::verify`]'s on `record`, goes. `problem` is the question that was put to the policy.
pub fn route(record: &Record, problem: &str, verdict: &Verdict, seed: u64) -> Route {
    if verdict.verdict != Decision::Unsure || verdict.reason == Reason::Empty {
        return Route::Final;
    }
    // "not 42", "one or 42": what the rule read is not what the answer says.
    if verdict.reason == Reason::Several {
        return Route::Refused(Reason::Hedge);
    }
    let answer = match verdict.span.and_then(|[start, end]| record.pred.get(start..end)) {
        Some(answer) => answer,
        None => match Response::parse(&record.pred).short(record.opts.extract) {
            Ok(piece) => piece.text,
            Err(reason) => return Route::Refused(reason),
        },
    };
    if record.golds.iter().all(|gold| gold.trim().is_empty()) {
        return Route::Nothing("the row has no truth to compare with");
    }
    if let Some(reason) = filter::refusal(record, problem, answer) {
        return Route::Refused(reason);
    }
    let (task, references) = task(record);
    if problem.len() + answer.len() + references.iter().map(String::len).sum::<usize>() > MAX_ASKED {
        return Route::Nothing("question, truth and answer are too long for a judge");
    }
    Route::Ask(Question::new(task, problem.to_owned(), references, answer.to_owned(), seed))
}

/// How the truths are compared, and what of them is shown.
///
/// Several truths of an open row are the facts as its author cut them; of any other kind, answers any of which counts.
fn task(record: &Record) -> (Task, Vec<String>) {
    let golds = &record.golds;
    if record.kind == Kind::Open {
        if golds.len() > 1 {
            return (Task::Description, grouped(golds.clone()));
        }
        let facts = facts(&golds[0]);
        if facts.len() > 1 || golds[0].split_whitespace().count() >= MANY_WORDS {
            return (Task::Description, grouped(facts));
        }
    }
    let list = matches!(record.kind, Kind::Open | Kind::Text) && golds.iter().any(|gold| is_list(gold));
    (if list { Task::List } else { Task::Short }, golds.clone())
}

/// Three or more items of a few words, between commas, semicolons or line ends.
fn is_list(text: &str) -> bool {
    let items: Vec<&str> =
        text.split([',', ';', '\n']).map(str::trim).filter(|item| !item.is_empty()).collect();
    items.len() >= 3 && items.iter().all(|item| item.split_whitespace().count() <= 4)
}

/// Sentences, clauses between semicolons, and lines. Less than three words state no fact of their own and join the one before.
fn facts(text: &str) -> Vec<String> {
    let mut facts: Vec<String> = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let ends = |(at, c): (usize, char)| {
            let next = rest[at + c.len_utf8()..].chars().next();
            let sentence = matches!(c, '.' | '!' | '?') && next.is_none_or(char::is_whitespace);
            (sentence || matches!(c, ';' | '\n' | '。' | '！' | '？')).then_some(at + c.len_utf8())
        };
        let end = rest.char_indices().find_map(ends).unwrap_or(rest.len());
        let piece = rest[..end].trim().trim_start_matches(['-', '*', '•']).trim();
        rest = &rest[end..];
        match facts.last_mut() {
            _ if piece.is_empty() => {}
            Some(last) if piece.split_whitespace().count() < 3 && piece.is_ascii() => {
                last.push(' ');
                last.push_str(piece);
            }
            _ => facts.push(piece.to_owned()),
        }
    }
    facts
}

/// At most [`MAX_FACTS`], neighbours put together.
fn grouped(facts: Vec<String>) -> Vec<String> {
    let size = facts.len().div_ceil(MAX_FACTS).max(1);
    facts.chunks(size).map(|group| group.join(" ")).collect()
}

impl Question {
    fn new(task: Task, problem: String, references: Vec<String>, candidate: String, seed: u64) -> Self {
        let texts = || references.iter().chain([&problem, &candidate]);
        let mut key = texts().fold(Key::EMPTY.with(&seed.to_string()), |key, text| key.with(text));
        // A text that holds the fence's code could close the fence: then the code is another.
        let nonce = loop {
            let nonce = format!("{:016x}", (key.0 >> 64) as u64 ^ key.0 as u64);
            if !texts().any(|text| text.contains(&nonce)) {
                break nonce;
            }
            key = key.with("again");
        };
        Self { task, problem, references, candidate, nonce }
    }
}
