//! What people see of rows: a line in the list, and everything of one row.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use wethink_reward::{Choice, Key, Kind, Policy, Record, Response, RewardMap, Score, score};

use crate::filter::Shown;
use crate::sheet::{Mark, Sheet, shown_fault};

/// Letters of a problem in the list.
const TITLE: usize = 120;

/// A row in the list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Brief {
    /// Row of the file, from 0.
    pub row: usize,
    /// The case by content.
    pub key: Key,
    /// Its line in the file.
    pub line: u64,
    /// What it is verified as.
    pub kind: String,
    /// The verdict.
    pub verdict: Shown,
    /// The person's label.
    pub mark: Option<Mark>,
    /// The second annotator's.
    pub second: Option<Choice>,
    /// The beginning of the problem, or of the response where there is none.
    pub title: String,
}

/// A response, taken apart for reading.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Reply {
    /// What stands before the end of the thinking, tags included; empty if there is none.
    pub think: String,
    /// The rest.
    pub body: String,
    /// Bytes of `body` that the verdict read.
    pub span: Option<[usize; 2]>,
}

/// A verdict with everything that led to it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Judged {
    /// Accept, reject or unsure.
    pub verdict: Shown,
    /// Why, in one of a closed list of words.
    pub reason: String,
    /// Which rule decided.
    pub tier: String,
    /// The verdict's score.
    pub score: f64,
    /// The weighted sum; `None` where a judge must be heard.
    pub reward: Option<f64>,
    /// 1 if the response has the trained form and that earns.
    pub format: f64,
    /// Length penalty, at most 0.
    pub overlong: f64,
    /// Repetition penalty, at most 0.
    pub repetition: f64,
    /// The truth as the rule understood it.
    pub gold_normal: String,
    /// The answer as the rule understood it.
    pub pred_normal: String,
    /// Steps spent.
    pub fuel: u32,
}

/// One case: what it says, and the verdict or what is wrong with the row.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Case {
    /// What it is verified as.
    pub kind: Option<Kind>,
    /// The truths, any of which may be equalled.
    pub truths: Vec<String>,
    /// Options of a choice: letter and text.
    pub choices: Vec<(String, String)>,
    /// The response.
    pub reply: Reply,
    /// The verdict.
    pub judged: Option<Judged>,
    /// What is wrong with kind, truth, choices or switches.
    pub fault: Option<String>,
    /// Switches that nothing knows.
    pub unknown: Vec<String>,
}

/// Everything of one row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Detail {
    /// Its line in the list.
    pub brief: Brief,
    /// Its own name.
    pub id: Option<String>,
    /// The kind by the file's own name.
    pub named: Option<String>,
    /// Whether a kind was chosen for this row alone.
    pub own_kind: bool,
    /// The question.
    pub problem: String,
    /// Paths of pictures.
    pub images: Vec<String>,
    /// The case and its verdict.
    pub case: Case,
    /// What the second annotator says.
    pub second: Option<Mark>,
    /// The row as `trainer verify` reads it, JSON.
    pub json: String,
}

/// Verifies one case, given as a row of `trainer verify`; what is wrong with it is told, not thrown.
pub fn case(row: &Value, policy: &Policy, tokens: Option<usize>) -> Case {
    match Record::from_json(row, &RewardMap::default()) {
        Ok(record) => judged(record, policy, tokens),
        Err(error) => {
            let pred = row.get("pred").and_then(Value::as_str).unwrap_or_default();
            Case { reply: reply(pred, None), fault: Some(shown_fault(&error)), ..Case::default() }
        }
    }
}

fn judged(record: Record, policy: &Policy, tokens: Option<usize>) -> Case {
    let scored = score(&record, policy, tokens);
    let span = scored.as_ref().ok().and_then(|score| score.verdict.span);
    let (score, fault) = match scored {
        Ok(score) => (Some(flat(score)), None),
        Err(error) => (None, Some(shown_fault(&error))),
    };
    Case {
        kind: Some(record.kind),
        reply: reply(&record.pred, span),
        truths: record.golds,
        choices: record.choices,
        judged: score,
        fault,
        unknown: record.opts.unknown.keys().cloned().collect(),
    }
}

fn flat(score: Score) -> Judged {
    let Score { reward, format, overlong, repetition, verdict, .. } = score;
    // The words that the JSON of a verdict has.
    let word = |value: Result<Value, _>| match value {
        Ok(Value::String(word)) => word,
        Ok(_) | Err::<_, serde_json::Error>(_) => String::new(),
    };
    Judged {
        verdict: verdict.verdict.into(),
        reason: word(serde_json::to_value(verdict.reason)),
        tier: word(serde_json::to_value(verdict.tier)),
        score: verdict.score,
        reward,
        format,
        overlong,
        repetition,
        gold_normal: verdict.gold_normal,
        pred_normal: verdict.pred_normal,
        fuel: verdict.fuel,
    }
}

fn reply(pred: &str, span: Option<[usize; 2]>) -> Reply {
    let response = Response::parse(pred);
    let cut = if response.thought { response.body.at } else { 0 };
    let inside = |[a, b]: [usize; 2]| Some([a.checked_sub(cut)?, b.checked_sub(cut)?]);
    Reply { think: pred[..cut].to_owned(), body: pred[cut..].to_owned(), span: span.and_then(inside) }
}

impl Sheet {
    /// Rows of the list from `from` on, at most `count`.
    pub fn window(&self, from: usize, count: usize) -> Vec<Brief> {
        let rows = self.shown.iter().skip(from).take(count);
        rows.map(|&index| self.brief(index as usize)).collect()
    }

    fn brief(&self, index: usize) -> Brief {
        let row = &self.rows[index];
        let text = if row.problem.trim().is_empty() { row.pred() } else { &row.problem };
        Brief {
            row: index,
            key: row.key,
            line: row.line,
            kind: self.kind_name(index),
            verdict: self.verdict(index),
            mark: self.marks[index].as_deref().cloned(),
            second: self.seconds[index].as_deref().map(|mark| mark.choice),
            title: text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(TITLE).collect(),
        }
    }

    /// Everything of the row at a place among those shown.
    pub fn detail(&self, place: usize) -> Option<Detail> {
        let index = *self.shown.get(place)? as usize;
        let row = &self.rows[index];
        let kind = self.kind(index);
        let json = row.case(kind.as_ref().ok().copied());
        let case = match kind.and_then(|kind| row.record(kind).map_err(|error| shown_fault(&error))) {
            Ok(record) => judged(record, &self.setup.policy, row.tokens),
            Err(fault) => Case { reply: reply(row.pred(), None), fault: Some(fault), ..Case::default() },
        };
        Some(Detail {
            brief: self.brief(index),
            id: row.id.clone().map(crate::row::text_of),
            named: row.kind.clone(),
            own_kind: self.kinds.contains_key(&index),
            problem: row.problem.clone(),
            images: row.images.clone(),
            case,
            second: self.seconds[index].as_deref().cloned(),
            json: json.to_string(),
        })
    }
}
