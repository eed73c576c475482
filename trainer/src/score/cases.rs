//! Rows and responses to cases: one response to one question, with the truth and the switches of its row.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value, json};
use wethink_data::{Records, Row};
use wethink_reward::{Key, Record, RewardMap};

use crate::verifier;

/// One response to score.
#[derive(Debug, Clone)]
pub struct Case {
    /// What was asked.
    pub problem: String,
    /// Pictures, from the image root on.
    pub images: Vec<String>,
    /// Truth, response and switches.
    pub record: Record,
    /// Tokens of the response, where the file says so.
    pub tokens: Option<usize>,
    /// The case by its content.
    pub key: Key,
}

/// One line of the output to be: a case, or why there is none.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The row's line.
    pub line: u64,
    /// The row's own id; without one, its line.
    pub id: Value,
    /// The case.
    pub case: Result<Case, String>,
}

/// Everything that was read.
#[derive(Debug, Default)]
pub struct Cases {
    /// In the order of the rows, and of the responses within a row.
    pub entries: Vec<Entry>,
    /// Rows for which `--responses` has nothing.
    pub without: usize,
}

/// A response from `--responses`.
struct Given {
    line: u64,
    text: String,
    tokens: Option<usize>,
}

/// Reads all cases.
///
/// # Errors
/// A file cannot be opened, a reward's name is unknown, or two rows have the id that responses go by. A row that cannot be
/// read, or a response to no row, is an [`Entry`] of its own.
pub fn read(data: &Path, responses: Option<&Path>, map: &RewardMap) -> Result<Cases> {
    let mut given = responses.map(responses_by_id).transpose()?;
    let rows = wethink_data::open(data).with_context(|| format!("{}: cannot be read", data.display()))?;
    let mut seen = HashMap::new();
    let mut names = Vec::new();
    let mut cases = Cases::default();
    for line in rows {
        let number = line.number;
        let row = match line.row {
            Ok(row) => row,
            Err(fault) => {
                let case = Err(fault.to_string());
                cases.entries.push(Entry { line: number, id: Value::Null, case });
                continue;
            }
        };
        names.extend(reward_name(&row).filter(|name| name != verifier::SCENE));
        let id = row.extra.get("id").filter(|id| !id.is_null()).cloned().unwrap_or_else(|| json!(number));
        let responses = match &mut given {
            None => vec![own_response(&row)],
            Some(given) => {
                if let Some(first) = seen.insert(id.to_string(), number) {
                    let name = data.display();
                    bail!(
                        "{name}: lines {first} and {number} have the same id {id}: whose are the responses?"
                    );
                }
                given.remove(&id.to_string()).unwrap_or_default().into_iter().map(Ok).collect()
            }
        };
        cases.without += usize::from(responses.is_empty());
        for response in responses {
            let case = response.and_then(|given| case(&row, given, map));
            cases.entries.push(Entry { line: number, id: id.clone(), case });
        }
    }
    map.check(names.iter().map(String::as_str))?;
    cases.entries.extend(given.into_iter().flatten().flat_map(strays));
    Ok(cases)
}

/// The response that a row brings itself.
fn own_response(row: &Row) -> Result<Given, String> {
    let text = row.extra.get("response").and_then(Value::as_str);
    let text =
        text.ok_or("field `response` is missing or no string; write it, or give --responses")?.to_owned();
    Ok(Given { line: 0, text, tokens: tokens(&row.extra) })
}

fn tokens(fields: &Map<String, Value>) -> Option<usize> {
    fields.get("tokens").and_then(Value::as_u64).and_then(|n| usize::try_from(n).ok())
}

/// Responses to no row: they are said, like rows that cannot be read.
fn strays((id, responses): (String, Vec<Given>)) -> impl Iterator<Item = Entry> {
    responses.into_iter().map(move |Given { line, .. }| Entry {
        line,
        id: serde_json::from_str(&id).unwrap_or_default(),
        case: Err(format!("--responses line {line}: no row has the id {id}")),
    })
}

/// The dataset's name of how a row is rewarded.
pub fn reward_name(row: &Row) -> Option<String> {
    let kind = row.extra.get("kind").and_then(Value::as_str).map(str::to_owned);
    kind.or_else(|| row.reward.as_ref().map(|reward| reward.joined()))
}

fn case(row: &Row, given: Given, map: &RewardMap) -> Result<Case, String> {
    Case::new(row, &given.text, given.tokens, map)
}

impl Case {
    /// A response of so many tokens to a row.
    ///
    /// # Errors
    /// The row does not say how to compare, or has no truth that fits.
    pub fn new(row: &Row, response: &str, tokens: Option<usize>, map: &RewardMap) -> Result<Self, String> {
        let name = reward_name(row).ok_or("field `reward` is missing: nothing says how to compare")?;
        let scene = verifier::scene(&name, row)?;
        let kind = scene.as_ref().map_or(name, |_| verifier::COMPARED.name().to_owned());
        let mut fields = Map::from_iter([
            ("kind".to_owned(), json!(kind)),
            ("gold".to_owned(), json!(row.truth())),
            ("pred".to_owned(), json!(response)),
        ]);
        for name in ["golds", "choices", "opts"] {
            fields.extend(row.extra.get(name).map(|value| (name.to_owned(), value.clone())));
        }
        let mut record = Record::from_json(&Value::Object(fields), map).map_err(|error| error.to_string())?;
        let key = Key::of(&row.problem, &record.golds, &record.pred);
        if let Some(scene) = scene {
            verifier::admit(&scene, &mut record);
        }
        let images = row.images().to_vec();
        Ok(Case { problem: row.problem.clone(), images, record, tokens, key })
    }
}

/// `{"id", "response", "tokens"?}` by the id's JSON, several for one id in their order.
fn responses_by_id(path: &Path) -> Result<BTreeMap<String, Vec<Given>>> {
    let name = path.display();
    let file = File::open(path).with_context(|| format!("{name}: cannot be read"))?;
    let mut found: BTreeMap<String, Vec<Given>> = BTreeMap::new();
    for line in Records::json(file).with_context(|| format!("{name}: cannot be read"))? {
        let number = line.number;
        let fields = line.row.with_context(|| format!("{name}: line {number}"))?;
        let (Some(id), Some(text)) = (fields.get("id"), fields.get("response").and_then(Value::as_str))
        else {
            bail!(
                "{name}: line {number}: write {{\"id\": …, \"response\": \"…\"}}, the id being the row's, or its line"
            );
        };
        let given = Given { line: number, text: text.to_owned(), tokens: tokens(&fields) };
        found.entry(id.to_string()).or_default().push(given);
    }
    Ok(found)
}
