//! One row of a file, read by its columns.

use serde_json::{Map, Value, json};
use wethink_reward::{Key, Kind, Record, RewardMap, TruthError};

use crate::columns::{Columns, Role};

/// A row: what people see of it, and the case that is verified.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Where it starts in the file, from 1.
    pub line: u64,
    /// The case by content.
    pub key: Key,
    /// Its own name, a string or a number.
    pub id: Option<Value>,
    /// The question; may be empty.
    pub problem: String,
    /// Paths of pictures, as written.
    pub images: Vec<String>,
    /// The kind by the file's own name; `None` takes the one chosen for the whole file.
    pub kind: Option<String>,
    /// Tokens of the response, where the file tells.
    pub tokens: Option<usize>,
    /// `{gold | golds, pred, choices?, opts?}`, as [`Record::from_json`] reads it.
    case: Map<String, Value>,
}

impl Row {
    /// Reads a row.
    ///
    /// # Errors
    /// There is no reply, or no case can be made of the fields whatever the kind. Never because of what the reply says.
    pub fn read(line: u64, mut fields: Map<String, Value>, columns: &Columns) -> Result<Self, String> {
        let mut take = |role: Role| columns.take(role, &mut fields);
        let reply = columns.get(Role::Reply).unwrap_or("pred");
        let pred =
            take(Role::Reply).ok_or_else(|| format!("field `{reply}` is missing: there is no reply"))?;
        let mut case = Map::new();
        if let Some(truth) = take(Role::Truth).map(from_cell) {
            let many = truth.as_array().is_some_and(|list| list.iter().all(Value::is_string));
            case.insert(if many { "golds" } else { "gold" }.into(), truth);
        }
        case.insert("pred".into(), text_of(pred).into());
        if let Some(choices) = take(Role::Choices) {
            case.insert("choices".into(), choices_of(choices));
        }
        if let Some(opts) = take(Role::Opts) {
            case.insert("opts".into(), from_cell(opts));
        }
        let problem = take(Role::Problem).map(text_of).unwrap_or_default();
        let images = match take(Role::Image).map(from_cell) {
            Some(Value::Array(list)) => list.into_iter().map(text_of).collect(),
            Some(one) => vec![text_of(one)],
            None => Vec::new(),
        };
        let tokens = take(Role::Tokens).and_then(|value| match value {
            Value::String(text) => text.trim().parse().ok(),
            other => other.as_u64().and_then(|tokens| usize::try_from(tokens).ok()),
        });
        let id = take(Role::Id).filter(|id| id.is_string() || id.is_number());
        let kind = take(Role::Kind).map(name_of);
        let mut row = Self { line, key: Key(0), id, problem, images, kind, tokens, case };
        // The kind decides how truths are read only where there is none; free text asks for none.
        let record = row.record(Kind::Open).or_else(|_| row.bare());
        let record = record.map_err(|error| error.to_string())?;
        row.key = Key::of(&row.problem, &record.golds, &record.pred);
        Ok(row)
    }

    /// The case as a record of `kind`.
    ///
    /// # Errors
    /// The truth, the choices or the switches are malformed.
    pub fn record(&self, kind: Kind) -> Result<Record, TruthError> {
        let mut case = self.case.clone();
        case.insert("kind".into(), kind.name().into());
        // A map may send a kind's own name elsewhere; here the kind is decided already.
        Record::from_json(&Value::Object(case), &RewardMap::default())
    }

    /// Truth and response alone: switches at fault do not change which case it is.
    fn bare(&self) -> Result<Record, TruthError> {
        let field = |name: &str| self.case.get(name).cloned().unwrap_or(Value::Null);
        let mut case = json!({"kind": "open", "gold": field("gold"), "pred": field("pred")});
        if let Some(golds) = self.case.get("golds") {
            case["golds"] = golds.clone();
        }
        Record::from_json(&case, &RewardMap::default())
    }

    /// The kind under a map, or what is to be done: the name is unknown, or there is none and none was chosen.
    pub fn kind(&self, map: &RewardMap, default: Option<Kind>) -> Result<Kind, String> {
        match (&self.kind, default) {
            (Some(name), _) => map.resolve(name).ok_or_else(|| {
                format!("reward {name:?} is no kind; choose one for it under “Kinds and policy”")
            }),
            (None, Some(kind)) => Ok(kind),
            (None, None) => Err("the row names no kind; choose one for the file".into()),
        }
    }

    /// The response.
    pub fn pred(&self) -> &str {
        self.case.get("pred").and_then(Value::as_str).unwrap_or_default()
    }

    /// The case in the form of a row of `trainer verify`, for looking at and for trying variants.
    pub fn case(&self, kind: Option<Kind>) -> Value {
        let mut fields = Map::new();
        if let Some(kind) = kind {
            fields.insert("kind".into(), kind.name().into());
        }
        fields.extend(self.case.clone());
        Value::Object(fields)
    }

    /// Whether `needle`, in lower case, stands in problem, truth, response or id.
    pub fn holds(&self, needle: &str) -> bool {
        let within = |text: &str| text.to_lowercase().contains(needle);
        let truth = || self.case.get("gold").or_else(|| self.case.get("golds"));
        let id = || self.id.as_ref().map(|id| text_of(id.clone()));
        within(&self.problem)
            || within(self.pred())
            || truth().is_some_and(|truth| match truth {
                Value::String(text) => within(text),
                other => within(&other.to_string()),
            })
            || id().is_some_and(|id| within(&id))
    }
}

/// Text as it is; anything else as its JSON.
pub(crate) fn text_of(value: Value) -> String {
    match value {
        Value::String(text) => text,
        other => other.to_string(),
    }
}

/// A kind's name; several become one, as the reward of a row may be a list.
fn name_of(value: Value) -> String {
    match value {
        Value::Array(list) => list.into_iter().map(text_of).collect::<Vec<_>>().join(" + "),
        other => text_of(other),
    }
}

/// A cell of CSV that holds a JSON list of texts or an object is that; a list of numbers stays text, which every kind reads.
fn from_cell(value: Value) -> Value {
    let Value::String(text) = &value else { return value };
    if !text.trim_start().starts_with(['[', '{']) {
        return value;
    }
    match serde_json::from_str::<Value>(text) {
        Ok(Value::Array(list)) if !list.is_empty() && list.iter().all(Value::is_string) => Value::Array(list),
        Ok(Value::Object(object)) => Value::Object(object),
        _ => value,
    }
}

/// Choices in a cell: JSON, or one a line, or separated by `|`.
fn choices_of(value: Value) -> Value {
    let Value::String(text) = from_cell(value.clone()) else { return from_cell(value) };
    let separator = if text.contains('\n') { '\n' } else { '|' };
    text.split(separator).map(str::trim).filter(|part| !part.is_empty()).collect::<Vec<_>>().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: Value) -> Result<Row, String> {
        let Value::Object(fields) = json else { panic!("an object") };
        let columns = Columns::guess(&fields.keys().collect::<Vec<_>>());
        Row::read(3, fields, &columns)
    }

    fn record(row: &Row) -> Record {
        let map = RewardMap::default();
        row.record(row.kind(&map, Some(Kind::Text)).unwrap()).unwrap()
    }

    #[test]
    fn rows_of_several_hands_are_read() {
        let row =
            read(json!({"question": "q?", "answer": 42, "response": "42", "reward": "Number"})).unwrap();
        assert_eq!(
            (record(&row).kind, record(&row).golds, row.problem.as_str()),
            (Kind::Number, vec!["42".into()], "q?")
        );
        let row = read(json!({"gold": ["a", "b"], "pred": "b", "kind": "text", "image": ["x.png", "y.png"]}))
            .unwrap();
        assert_eq!((record(&row).golds.len(), row.images.len()), (2, 2));
        let cells = json!({"gold": "[\"a\", \"b\"]", "pred": "B", "kind": "mcq", "options": "cat | dog", "tokens": "17"});
        let row = read(cells).unwrap();
        assert_eq!(record(&row).choices, [("A".into(), "cat".into()), ("B".into(), "dog".into())]);
        assert_eq!((record(&row).golds.len(), row.tokens), (2, Some(17)));
        assert_eq!(
            record(&read(json!({"gold": "[1, 2, 3, 4]", "pred": "", "kind": "box"})).unwrap()).golds,
            ["[1, 2, 3, 4]"]
        );
    }

    #[test]
    fn the_key_is_that_of_problem_truths_and_response() {
        let row =
            read(json!({"problem": "p", "gold": ["a", "b"], "pred": "r", "kind": "nothing known"})).unwrap();
        assert_eq!(row.key, Key::of("p", &["a", "b"], "r"));
        let row = read(json!({"problem": "p", "gold": "a", "pred": "r", "opts": {"tolerance": -1}})).unwrap();
        assert_eq!(row.key, Key::of("p", &["a"], "r"), "switches at fault");
        assert!(row.record(Kind::Number).is_err());
    }

    #[test]
    fn a_row_without_a_reply_or_a_kind_says_so() {
        assert!(read(json!({"gold": "a", "x": 1})).unwrap_err().contains("no reply"));
        assert!(read(json!({"gold": "a", "pred": null})).unwrap_err().contains("`pred`"));
        let row = read(json!({"gold": "a", "pred": "b"})).unwrap();
        assert!(row.kind(&RewardMap::default(), None).unwrap_err().contains("choose"));
        let row = read(json!({"gold": "a", "pred": "b", "reward": "DES"})).unwrap();
        assert!(row.kind(&RewardMap::default(), Some(Kind::Math)).unwrap_err().contains("DES"));
    }

    #[test]
    fn searching_is_without_case_and_in_every_text() {
        let row = read(json!({"id": 7, "problem": "Wo?", "gold": "Köln", "pred": "In <b>Bonn</b>"})).unwrap();
        for (needle, found) in
            [("wo?", true), ("köln", true), ("<b>bonn", true), ("7", true), ("berlin", false)]
        {
            assert_eq!(row.holds(needle), found, "{needle}");
        }
    }
}
