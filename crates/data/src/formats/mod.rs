//! The three ways a row is written: WeThink's own, LLaMA-Factory's ShareGPT, EasyR1's.
//!
//! Labels (`category`, `abilities`, `reward`) and unknown fields travel through all of them, so that a conversion and its
//! way back lose nothing but wrappers around thought and answer.

mod easy_r1;
mod placeholders;
mod sharegpt;

use std::fmt;
use std::str::FromStr;

use serde_json::{Map, Value};

use crate::{Fault, OneOrMany, Row};

/// How a record is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Format {
    /// `problem`, `answer`, `refined_cot`, `image_path`, …: the published file.
    WeThink,
    /// `conversations` of `from` and `value` (or `messages` of `role` and `content`), `images`, `system`.
    ShareGpt,
    /// `problem` with `<image>` where pictures stand, `answer`, `images`.
    EasyR1,
}

impl Format {
    /// Every format, by name.
    pub const ALL: [Self; 3] = [Self::WeThink, Self::ShareGpt, Self::EasyR1];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::WeThink => "wethink",
            Self::ShareGpt => "sharegpt",
            Self::EasyR1 => "easyr1",
        }
    }

    /// The format of a record, told by fields that the others do not have.
    pub fn of(fields: &Map<String, Value>) -> Self {
        let has = |name: &str| fields.get(name).is_some_and(|value| !value.is_null());
        match () {
            () if has("conversations") || has("messages") => Self::ShareGpt,
            () if has("images") && !has("image_path") => Self::EasyR1,
            () => Self::WeThink,
        }
    }

    /// A record to a row.
    ///
    /// # Errors
    /// The field at fault, and the fix.
    pub fn read(self, fields: Map<String, Value>) -> Result<Row, Fault> {
        match self {
            Self::WeThink => Row::from_fields(fields),
            Self::ShareGpt => sharegpt::read(fields),
            Self::EasyR1 => easy_r1::read(fields),
        }
    }

    /// A row to a record.
    pub fn write(self, row: &Row) -> Map<String, Value> {
        match self {
            Self::WeThink => row.to_fields(),
            Self::ShareGpt => sharegpt::write(row),
            Self::EasyR1 => easy_r1::write(row),
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Format {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let names = Self::ALL.map(Self::name).join(", ");
        Self::ALL.into_iter().find(|f| f.name() == name).ok_or_else(|| format!("`{name}` is none of {names}"))
    }
}

/// Takes `images`: paths, or one path; no pictures is the same as none.
fn images(fields: &mut Map<String, Value>) -> Result<Option<OneOrMany>, Fault> {
    for field in ["videos", "audios"] {
        let empty = |v: &Value| v.is_null() || v.as_array().is_some_and(Vec::is_empty);
        if fields.get(field).is_some_and(|value| !empty(value)) {
            return Err(Fault::field(field, "only pictures are supported", "send frames as `images`"));
        }
        fields.shift_remove(field);
    }
    let images = OneOrMany::read("images", fields.shift_remove("images"))?;
    Ok(match images {
        Some(OneOrMany::Many(list)) if list.is_empty() => None,
        // A list of one and a string are the same to the readers of both formats.
        Some(OneOrMany::Many(mut list)) if list.len() == 1 => list.pop().map(OneOrMany::One),
        other => other,
    })
}

/// Writes what all formats but WeThink's write in the same way.
fn put_rest(fields: &mut Map<String, Value>, row: &Row) {
    if !row.images().is_empty() {
        fields.insert("images".into(), row.images().into());
    }
    for (name, label) in [("category", &row.category), ("abilities", &row.abilities), ("reward", &row.reward)]
    {
        crate::row::put(fields, name, label.as_ref().map(OneOrMany::to_json));
    }
    crate::row::put(fields, "system", row.system.as_deref().map(Value::from));
    row.add_extra(fields);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::Part;

    fn read(value: Value) -> Result<Row, Fault> {
        let Value::Object(fields) = value else { panic!("an object") };
        Format::of(&fields).read(fields)
    }

    #[test]
    fn llama_factorys_record_is_read_in_both_spellings() {
        let wanted = Row {
            refined_cot: Some("so".into()),
            image_path: Some("a.png".into()),
            system: Some("Be brief.".into()),
            ..Row::new("How many?", "4")
        };
        let gpt = "<think>\nso\n</think>\n<answer>\n4\n</answer>";
        let spoken = json!({
            "conversations": [{"from": "human", "value": "<image>\nHow many?"}, {"from": "gpt", "value": gpt}],
            "images": ["a.png"], "system": "Be brief.",
        });
        let openai = json!({
            "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "<image>How many?"},
                {"role": "assistant", "content": gpt}],
            "images": "a.png", "videos": [],
        });
        assert_eq!(read(spoken.clone()).unwrap(), wanted);
        assert_eq!(read(openai).unwrap(), wanted);
        assert_eq!(Value::Object(Format::ShareGpt.write(&wanted)), spoken);
        // WeThink's README gives the thought alone as what gpt says; the truth then stands beside it.
        let thought = json!({"conversations": [{"from": "human", "value": "How many?"}, {"from": "gpt", "value": "so"}], "answer": "4"});
        let row = read(thought).unwrap();
        assert_eq!((row.thought().as_deref(), row.answer.as_str()), (Some("so"), "4"));
    }

    #[test]
    fn easy_r1s_record_is_read_with_pictures_in_their_places() {
        let row = read(
            json!({"problem": "Is <image> in <image>?", "answer": "yes", "images": ["a.png", "b.png"], "id": 7}),
        );
        let row = row.unwrap();
        let wanted = [
            Part::Text("Is "),
            Part::Image("a.png"),
            Part::Text(" in "),
            Part::Image("b.png"),
            Part::Text("?"),
        ];
        assert_eq!(row.parts(), wanted);
        assert_eq!(row.extra["id"], 7);
        assert_eq!(Format::EasyR1.write(&row)["problem"], "Is <image> in <image>?");
    }

    #[test]
    fn what_is_no_question_with_one_answer_is_refused_by_field() {
        let turn = |from: &str, value: Value| json!({"from": from, "value": value});
        let (human, gpt) = (turn("human", "q".into()), turn("gpt", "a".into()));
        for (record, field) in [
            (json!({"conversations": [human, gpt, human, gpt]}), "conversations"),
            (json!({"conversations": [human]}), "answer"),
            (json!({"conversations": [gpt, human]}), "conversations"),
            (json!({"conversations": 5}), "conversations"),
            (json!({"conversations": [5]}), "conversations"),
            (json!({"conversations": [turn("tool", "x".into()), gpt]}), "conversations"),
            (json!({"messages": [turn("human", 5.into()), gpt]}), "messages"),
            (json!({"conversations": [turn("system", "a".into()), human, gpt], "system": "b"}), "system"),
            (json!({"conversations": [human, gpt], "videos": ["a.mp4"]}), "videos"),
            (json!({"problem": "<image> <image>", "answer": "4", "images": ["a.png"]}), "images"),
            (json!({"problem": "q", "answer": "4", "images": [{"bytes": "…"}]}), "images"),
        ] {
            let fault = read(record.clone()).unwrap_err().to_string();
            assert!(fault.contains(&format!("field `{field}`")), "{record}: {fault}");
        }
    }

    fn label() -> impl Strategy<Value = Option<OneOrMany>> {
        prop_oneof![
            Just(None),
            any::<String>().prop_map(|t| Some(OneOrMany::One(t))),
            prop::collection::vec(any::<String>(), 0..3).prop_map(|t| Some(OneOrMany::Many(t))),
        ]
    }

    prop_compose! {
        /// Rows in the form a reader leaves them: no wrappers, pictures as one path or several, places in order.
        fn rows()(
            problem in "(\\PC|<image>|\n){0,20}[a-z]", answer in "[0-9a-z.é]{1,6}", thought in prop::option::of("[a-z ]{0,9}[a-z]"),
            labels in (label(), label(), label()), system in prop::option::of(any::<String>()),
            images in prop::collection::vec("[a-z/.]{1,8}", 0..4), at in prop::collection::vec(any::<prop::sample::Index>(), 4),
            placed: bool, extra in "[A-Z]{1,4}",
        ) -> Row {
            let ends: Vec<usize> = (0..=problem.len()).filter(|&i| problem.is_char_boundary(i)).collect();
            let mut image_at: Vec<usize> = at[..images.len()].iter().map(|i| *i.get(&ends)).collect();
            image_at.sort_unstable();
            // Nothing but line breaks before the last picture: the same as pictures first.
            if !placed || image_at.last().is_none_or(|&at| problem[..at].trim_matches('\n').is_empty()) {
                image_at.clear();
            }
            let image_path = match images.len() {
                0 => None,
                1 => images.into_iter().next().map(OneOrMany::One),
                _ => Some(OneOrMany::Many(images)),
            };
            let (category, abilities, reward) = labels;
            let extra = [(extra, json!({"deep": [1, null, "x"]}))].into_iter().collect();
            let refined_cot = thought.map(|t| t.trim().to_owned());
            Row { problem, answer, category, abilities, refined_cot, image_path, image_at, reward, system, extra }
        }
    }

    proptest! {
        #[test]
        fn every_format_gives_back_the_row(row in rows()) {
            for format in Format::ALL {
                let record = Value::Object(format.write(&row)).to_string();
                let fields = crate::Records::json(record.as_bytes()).unwrap().next().unwrap().row.unwrap();
                if format == Format::ShareGpt || !row.images().is_empty() {
                    prop_assert_eq!(Format::of(&fields), format);
                }
                let back = format.read(fields).unwrap();
                prop_assert_eq!(&back, &row, "{}", record);
            }
        }
    }
}
