//! What is refused before a judge sees it: answers that are none, that hedge or echo, and those written for a judge.
//!
//! Judges accept ":" and "Solution" (Zhao et al., "One Token to Fool LLM-as-a-Judge", 2025) and texts that speak to them
//! (Huang et al., "Pitfalls of Rule- and Model-based Verifiers", 2025): what can be named is refused by rule. The lists
//! err towards refusal, since a wrong refusal costs one reward and a wrong accept teaches a hack. Whatever stands in the
//! truth or in an option as well is no ground for refusal. Everything is compared in the spoken form: NFKC, lower case,
//! words between single blanks.

use std::collections::HashSet;

use crate::kind::Kind;
use crate::record::Record;
use crate::verdict::Reason;
use crate::words::{normal_words, plain};

/// Anywhere in an answer: words for a judge, and openings of a solution that never comes.
const FOR_A_JUDGE: &[&str] = &[
    "final decision",
    "final judgment",
    "final judgement",
    "final verdict",
    "your verdict",
    "final grade",
    "correct answer is",
    "answer is correct",
    "is the correct answer",
    "this is correct",
    "reference answer",
    "standard answer",
    "ground truth",
    "gold answer",
    "golden answer",
    "student answer",
    "student s answer",
    "candidate answer",
    "the candidate",
    "model answer",
    "dear judge",
    "to the judge",
    "as a judge",
    "dear grader",
    "the grader",
    "the evaluator",
    "as an evaluator",
    "ignore previous",
    "ignore all",
    "ignore the above",
    "ignore the previous",
    "ignore your",
    "previous instructions",
    "above instructions",
    "disregard the",
    "disregard all",
    "disregard previous",
    "system prompt",
    "reply with",
    "respond with",
    "output yes",
    "say yes",
    "answer yes",
    "answer with yes",
    "mark this",
    "mark it",
    "full marks",
    "full score",
    "same meaning",
    "same as the reference",
    "matches the reference",
    "equivalent to the reference",
    "reply yes",
    "thought process",
    "step by step",
    "let s solve",
    "let us solve",
    "let s think",
    "let s begin",
];

/// As the whole of an answer: openings in several languages, and the judge's own words.
const ALONE: &[&str] = &[
    "solution",
    "the solution",
    "answer",
    "the answer",
    "final answer",
    "the final answer",
    "my answer",
    "explanation",
    "reasoning",
    "thinking",
    "解",
    "解答",
    "答案",
    "かいせつ",
    "答え",
    "respuesta",
    "réponse",
    "antwort",
    "lösung",
    "решение",
    "yes",
    "no",
    "true",
    "false",
    "correct",
    "right",
    "same",
    "the same",
    "equivalent",
    "identical",
    "accept",
    "present",
    "answer yes",
    "image",
    "the image",
    "see image",
    "see above",
];

/// Anywhere: an answer that declines to answer.
const DECLINES: &[&str] = &[
    "i do not know",
    "i don t know",
    "don t know",
    "no idea",
    "cannot be determined",
    "can not be determined",
    "can t be determined",
    "cannot determine",
    "can t determine",
    "unable to determine",
    "unable to answer",
    "cannot answer",
    "can t answer",
    "impossible to tell",
    "hard to tell",
    "cannot tell",
    "can t tell",
    "not enough information",
    "insufficient information",
    "i am unable",
    "i m unable",
    "as an ai",
    "i m sorry",
    "i am sorry",
    "all of the above",
    "any of the above",
];

/// In a short answer or a list: one that leaves itself a way out.
const HEDGES: &[&str] = &[
    "maybe",
    "perhaps",
    "possibly",
    "probably",
    "presumably",
    "could be",
    "might be",
    "may be",
    "could also be",
    "not sure",
    "unsure",
    "it depends",
    "either",
    "or",
    "i think",
    "i guess",
    "something like",
    "alternatively",
];

/// Why an answer is refused; `None` if a judge may see it.
pub(super) fn refusal(record: &Record, problem: &str, answer: &str) -> Option<Reason> {
    let truths = || record.golds.iter().chain(record.choices.iter().map(|(_, text)| text));
    let known: Vec<String> = truths().map(|text| spoken(text)).collect();
    let said = spoken(answer);
    let says = |phrases: &[&str]| {
        phrases
            .iter()
            .map(|p| format!(" {p} "))
            .any(|p| said.contains(&p) && !known.iter().any(|k| k.contains(&p)))
    };
    let alone =
        || ALONE.iter().any(|p| said.trim() == *p) && !known.iter().any(|k| k.contains(said.as_str()));
    let open = super::task(record).0 == super::Task::Description;
    if said.trim().is_empty() {
        Some(Reason::Empty)
    } else if markup(record, answer) {
        Some(Reason::Markup)
    } else if says(FOR_A_JUDGE) || alone() {
        Some(Reason::ForTheJudge)
    } else if says(DECLINES) || (!open && says(HEDGES)) {
        Some(Reason::Hedge)
    } else if echoes(problem, answer, record) {
        Some(Reason::Echo)
    } else if loops(&said) {
        Some(Reason::Loop)
    } else if too_long(record, answer) {
        Some(Reason::TooLong)
    } else {
        None
    }
}

/// Words in lower case between single blanks, with a blank at both ends; everything but letters and digits is a blank.
fn spoken(text: &str) -> String {
    let lower = plain(text).to_lowercase();
    let words = lower.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    let mut out = " ".to_owned();
    for word in words {
        out.push_str(word);
        out.push(' ');
    }
    out
}

/// Tags, fences, double brackets, invisible characters; in words also a text that is mostly signs.
fn markup(record: &Record, answer: &str) -> bool {
    const MARKS: [&str; 7] = ["[[", "]]", "```", "###", "<|", "|>", "---"];
    let truth = |mark: &str| record.golds.iter().any(|gold| gold.contains(mark));
    let hidden = |c: char| {
        let direction =
            matches!(c, '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}' | '\u{E0000}'..='\u{E007F}');
        direction || (c.is_control() && !matches!(c, '\n' | '\r' | '\t'))
    };
    let signs = || {
        let count = |is: fn(char) -> bool| answer.chars().filter(|&c| is(c)).count();
        let shown = count(|c| !c.is_whitespace());
        !matches!(record.kind, Kind::Math | Kind::Number) && 2 * count(char::is_alphanumeric) < shown
    };
    answer.chars().any(hidden)
        || MARKS.iter().any(|mark| answer.contains(mark) && !truth(mark))
        || (has_tag(answer) && !record.golds.iter().any(|gold| has_tag(gold)))
        || signs()
}

/// `<name …>` or `</name>` with at most 64 characters inside. Comparisons such as `a < b` are none.
fn has_tag(text: &str) -> bool {
    text.match_indices('<').any(|(at, _)| {
        let inside: String = text[at + 1..].chars().take(65).take_while(|&c| c != '>' && c != '<').collect();
        let closed = text[at + 1 + inside.len()..].starts_with('>');
        closed && inside.starts_with(|c: char| c.is_ascii_alphabetic() || matches!(c, '/' | '!' | '?'))
    })
}

/// The question given back, whole or in good part: four words are no accident. An answer that holds a truth's words is
/// none of this.
fn echoes(problem: &str, answer: &str, record: &Record) -> bool {
    const MANY: usize = 4;
    let (asked, said) = (normal_words(problem, false), normal_words(answer, false));
    let holds = |long: &[String], short: &[String]| {
        !short.is_empty() && long.windows(short.len()).any(|run| run == short)
    };
    let truth = || record.golds.iter().any(|gold| holds(&said, &normal_words(gold, false)));
    (asked.len() >= MANY && holds(&said, &asked)) || (said.len() >= MANY && holds(&asked, &said) && !truth())
}

/// A text that says a few words over and over.
fn loops(said: &str) -> bool {
    let words: Vec<&str> = said.split_whitespace().collect();
    let distinct: HashSet<&&str> = words.iter().collect();
    words.len() >= 12 && 3 * distinct.len() <= words.len()
}

/// Longer than four times the truth and 64 characters: a text that says everything says something right.
fn too_long(record: &Record, answer: &str) -> bool {
    let lengths = record.golds.iter().map(|gold| gold.chars().count());
    let truth = if record.kind == Kind::Open { lengths.sum() } else { lengths.max().unwrap_or(0) };
    answer.chars().count() > 4 * truth + 64
}
