//! From a judge's replies to an opinion.

use super::{Expect, Form, Judge, Question, Task};

/// What a judge says to one ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Yes.
    Yes,
    /// No.
    No,
    /// One for each fact.
    Facts(Vec<Fact>),
}

/// How a candidate stands to one fact of the truth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fact {
    /// Stated, or implied.
    Present,
    /// Not spoken of.
    Absent,
    /// Something is stated that cannot be true together with it.
    Contradicted,
}

/// A reply in other words than those asked for. It is a failure of the judge and says nothing about the candidate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the judge replied {reply:?}, which is not {wanted}")]
pub struct Garbled {
    /// The beginning of the reply.
    pub reply: String,
    /// What was asked for.
    pub wanted: String,
}

/// What a judge thinks of a candidate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Opinion {
    /// 0 or 1; for a description the quarter at or below (present − contradicted) / facts.
    pub score: f64,
    /// Both orders gave the same.
    pub agreed: bool,
}

impl Expect {
    /// Reads a reply: the words asked for in any case, with a full stop at most.
    pub fn read(self, text: &str) -> Result<Reply, Garbled> {
        let words: Vec<String> = text
            .split(|c: char| c.is_whitespace() || c == ',')
            .filter(|word| !word.is_empty())
            .map(|word| word.strip_suffix('.').unwrap_or(word).to_ascii_lowercase())
            .collect();
        let garbled = |wanted: String| Garbled { reply: text.trim().chars().take(120).collect(), wanted };
        match self {
            Self::YesNo => match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
                ["yes"] => Ok(Reply::Yes),
                ["no"] => Ok(Reply::No),
                _ => Err(garbled("Yes or No".to_owned())),
            },
            Self::Facts(n) => {
                let facts = words.iter().map(|word| match word.as_str() {
                    "present" => Some(Fact::Present),
                    "absent" => Some(Fact::Absent),
                    "contradicted" => Some(Fact::Contradicted),
                    _ => None,
                });
                let facts: Option<Vec<Fact>> = facts.collect();
                let wanted = || format!("{n} words, each present, absent or contradicted");
                facts.filter(|facts| facts.len() == n).map(Reply::Facts).ok_or_else(|| garbled(wanted()))
            }
        }
    }
}

/// Puts all asks of a question to a judge and makes one opinion of the replies.
///
/// Both orders are always asked, though a first No would decide: how often they differ measures the judge.
///
/// # Errors
/// The judge's first failure.
pub async fn opinion<J: Judge>(judge: &J, question: &Question) -> Result<Opinion, J::Error> {
    let form = judge.form();
    let mut replies = Vec::new();
    for ask in question.asks(form) {
        replies.push(judge.answer(&ask).await?);
    }
    Ok(question.conclude(form, &replies))
}

impl Question {
    /// The opinion that `replies`, one for each of [`Self::asks`] in order, amount to.
    pub(super) fn conclude(&self, form: Form, replies: &[Reply]) -> Opinion {
        let (first, second) = replies.split_at(replies.len() / 2);
        if self.task != Task::Description {
            let yes = |half: &[Reply]| half == [Reply::Yes];
            let (a, b) = (yes(first), yes(second));
            return Opinion { score: f64::from(a && b), agreed: a == b };
        }
        let facts = |half: &[Reply]| -> Vec<Fact> {
            match (form, half) {
                (Form::Words, [Reply::Facts(facts)]) => facts.clone(),
                _ => half.chunks(2).map(told).collect(),
            }
        };
        let (a, b) = (facts(first), facts(second));
        // The worse of the two: the order is declared from present to contradicted.
        let worse = || a.iter().zip(&b).map(|(a, b)| *a.max(b));
        let count = |fact: Fact| worse().filter(|f| *f == fact).count() as f64;
        let share = (count(Fact::Present) - count(Fact::Contradicted)) / self.references.len() as f64;
        Opinion { score: (4.0 * share.max(0.0)).floor() / 4.0, agreed: a == b }
    }

    /// How many asks a judge of this form gets.
    pub fn count(&self, form: Form) -> usize {
        match (self.task, form) {
            (Task::Description, Form::OneToken) => 4 * self.references.len(),
            _ => 2,
        }
    }
}

/// A fact from the two replies "is stated" and "is denied".
fn told(replies: &[Reply]) -> Fact {
    match replies {
        [_, Reply::Yes] => Fact::Contradicted,
        [Reply::Yes, _] => Fact::Present,
        _ => Fact::Absent,
    }
}
