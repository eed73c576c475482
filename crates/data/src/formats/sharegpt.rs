//! LLaMA-Factory's ShareGPT records (hiyouga/LLaMA-Factory, `data/README.md`): a conversation with pictures and a system
//! prompt, in the spelling `conversations`/`from`/`value` or `messages`/`role`/`content`.
//!
//! A row is one question and one answer, so a conversation of several turns is refused: which of its turns would be
//! rewarded is nowhere written.

use serde_json::{Map, Value, json};

use super::{images, placeholders, put_rest};
use crate::row::{answer, text};
use crate::{Fault, Row, thought};

pub(super) fn read(mut fields: Map<String, Value>) -> Result<Row, Fault> {
    let image_path = images(&mut fields)?;
    let pictures = image_path.as_ref().map_or(0, |images| images.as_slice().len());
    let field =
        if fields.get("conversations").is_some_and(|v| !v.is_null()) { "conversations" } else { "messages" };
    let turns = fields.shift_remove(field).unwrap_or_default();
    let talk = Talk::read(field, &turns)?;
    if let Some(system) = talk.system {
        if fields.get("system").is_some_and(|other| !other.is_null()) {
            let problem = "there is another one in the conversation";
            return Err(Fault::field("system", problem, "keep one system prompt"));
        }
        fields.insert("system".to_owned(), system.into());
    }
    let (problem, image_at) = placeholders::split(talk.human, pictures)?;
    if problem.trim().is_empty() {
        return Err(Fault::missing("problem", "the human asks something"));
    }
    let stored = text(&mut fields, "refined_cot")?;
    let said = talk.gpt.map(placeholders::unescape);
    let (refined_cot, answer) = match (said, answer(&mut fields)?) {
        (Some(said), None) => thought::parse(&said),
        // A truth beside the conversation: what is said is the thought, if it is not the answer itself.
        (Some(said), Some(truth)) => (Some(said).filter(|said| *said != truth), truth),
        (None, Some(truth)) => (None, truth),
        (None, None) => return Err(Fault::missing("answer", "let gpt answer, or write `answer`")),
    };
    Ok(Row {
        image_path,
        image_at,
        refined_cot: refined_cot.or(stored),
        ..Row::with_labels(problem, answer, fields)?
    })
}

pub(super) fn write(row: &Row) -> Map<String, Value> {
    let mut fields = Map::new();
    let turns = json!([
        {"from": "human", "value": placeholders::join(row)},
        {"from": "gpt", "value": placeholders::escape(&row.response())},
    ]);
    fields.insert("conversations".into(), turns);
    put_rest(&mut fields, row);
    fields
}

/// A conversation that is one question and at most one answer.
struct Talk<'a> {
    system: Option<&'a str>,
    human: &'a str,
    gpt: Option<&'a str>,
}

impl<'a> Talk<'a> {
    fn read(field: &str, turns: &'a Value) -> Result<Self, Fault> {
        let fix = "write one human turn and one gpt turn, before them at most one of system, all texts";
        let refuse = |problem: String| Fault::field(field, problem, fix);
        let list = turns.as_array().ok_or_else(|| refuse("not a list of turns".to_owned()))?;
        let mut said = Vec::with_capacity(list.len());
        for (i, turn) in list.iter().enumerate() {
            let get = |names: [&str; 2]| names.iter().find_map(|name| turn.get(name)).and_then(Value::as_str);
            match (get(["from", "role"]), get(["value", "content"])) {
                (Some(who), Some(what)) => said.push((who, what)),
                _ => return Err(refuse(format!("turn {i} does not say who speaks and what"))),
            }
        }
        let (system, rest) = match said.split_first() {
            Some((&("system", text), rest)) => (Some(text), rest),
            _ => (None, &said[..]),
        };
        match *rest {
            [("human" | "user", human)] => Ok(Self { system, human, gpt: None }),
            [("human" | "user", human), ("gpt" | "assistant", gpt)] => {
                Ok(Self { system, human, gpt: Some(gpt) })
            }
            _ => {
                let who: Vec<&str> = said.iter().take(8).map(|(who, _)| *who).collect();
                Err(refuse(format!("{} turns: {}", said.len(), who.join(", "))))
            }
        }
    }
}
