//! Messages as chat templates and `messages` files know them: a role, and text or parts.
//!
//! An image part is a slot: it says where a picture goes, and the pictures themselves come beside the messages, in
//! order. Whatever else an image part says (a path, a URL) is not followed.

use serde::de::{Deserializer, Error as _};
use serde::{Deserialize, Serialize};

use crate::error::Error;

/// The system prompt that WeThink was trained with and needs. Source: the released inference script.
pub const WETHINK_SYSTEM_PROMPT: &str = "You FIRST think about the reasoning process as an internal monologue \
and then provide the final answer.\nThe reasoning process MUST BE enclosed within <think> </think> tags. \
The final answer MUST BE enclosed within <answer> </answer> tags.";

/// One turn of a chat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Message {
    /// `system`, `user` or `assistant`.
    pub role: Role,
    /// What is said.
    pub content: Content,
}

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Instructions that stand above the chat.
    System,
    /// The one who asks.
    User,
    /// The model.
    Assistant,
}

/// The content of a message. Templates tell the two forms apart, so each is passed on as it came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Content {
    /// A string.
    Text(String),
    /// A list of parts.
    Parts(Vec<Part>),
}

/// A part of a message's content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Part {
    /// A slot for the next picture.
    Image,
    /// A slot for a video. It can be rendered, but [`crate::Processor::process`] refuses it by name.
    Video,
    /// Text.
    Text {
        /// The text.
        text: String,
    },
}

impl Message {
    /// A message of text alone.
    pub fn text(role: Role, text: impl Into<String>) -> Message {
        Message { role, content: Content::Text(text.into()) }
    }

    /// The texts in the message's content.
    fn texts(&self) -> Vec<&str> {
        match &self.content {
            Content::Text(text) => vec![text],
            Content::Parts(parts) => parts
                .iter()
                .filter_map(|part| match part {
                    Part::Text { text } => Some(text.as_str()),
                    Part::Image | Part::Video => None,
                })
                .collect(),
        }
    }

    /// How many parts equal `part`.
    pub(crate) fn count(&self, part: &Part) -> usize {
        match &self.content {
            Content::Text(_) => 0,
            Content::Parts(parts) => parts.iter().filter(|&p| p == part).count(),
        }
    }
}

/// Reads a `messages` file: a JSON list of messages.
///
/// # Errors
/// [`Error::BadFile`] under the name `file`, with the line, the column and the field.
pub fn messages_from_json(file: &str, bytes: &[u8]) -> Result<Vec<Message>, Error> {
    serde_json::from_slice(bytes).map_err(|error| crate::error::bad_file(file, error))
}

/// Which system message a chat gets that has none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum System {
    /// [`WETHINK_SYSTEM_PROMPT`].
    #[default]
    Default,
    /// Another text.
    Text(String),
    /// None of ours; the checkpoint's template may add its own.
    None,
}

/// Puts a system message first, unless the chat has one already: that one is used as it is.
pub fn with_system(mut messages: Vec<Message>, system: System) -> Vec<Message> {
    let text = match system {
        System::Default => WETHINK_SYSTEM_PROMPT.to_owned(),
        System::Text(text) => text,
        System::None => return messages,
    };
    if !messages.iter().any(|message| message.role == Role::System) {
        messages.insert(0, Message::text(Role::System, text));
    }
    messages
}

/// Refuses what would break the correspondence of slots, pictures and the template's placeholders.
pub(crate) fn check_slots(messages: &[Message], pictures: usize, placeholders: &[&str]) -> Result<(), Error> {
    for (index, message) in messages.iter().enumerate() {
        if message.count(&Part::Video) > 0 {
            return Err(Error::Video { message: index });
        }
        for token in placeholders {
            if message.texts().iter().any(|text| text.contains(token)) {
                return Err(Error::Message {
                    message: index,
                    reason: format!("its text holds the placeholder `{token}`; write an image part instead"),
                });
            }
        }
    }
    let slots = messages.iter().map(|message| message.count(&Part::Image)).sum();
    if slots != pictures {
        return Err(Error::PictureCount { slots, pictures });
    }
    Ok(())
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Content, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Content;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("`content`: a string or a list of parts")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Content, E> {
                Ok(Content::Text(text.to_owned()))
            }

            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<Content, A::Error> {
                let mut parts = Vec::new();
                while let Some(part) = seq.next_element()? {
                    parts.push(part);
                }
                Ok(Content::Parts(parts))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// Every field that a part may have; `null` is as good as absent, since columnar files fill all of them.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPart {
    r#type: String,
    text: Option<String>,
    image: Option<serde_json::Value>,
    image_url: Option<serde_json::Value>,
    video: Option<serde_json::Value>,
}

impl<'de> Deserialize<'de> for Part {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Part, D::Error> {
        let raw = RawPart::deserialize(deserializer)?;
        let (image, video) = (raw.image.is_some() || raw.image_url.is_some(), raw.video.is_some());
        match (raw.r#type.as_str(), raw.text) {
            ("text", Some(text)) if !image && !video => Ok(Part::Text { text }),
            ("text", None) => Err(D::Error::custom("a `text` part needs a `text` string")),
            ("image" | "image_url", None) if !video => Ok(Part::Image),
            ("video", None) if !image => Ok(Part::Video),
            ("text" | "image" | "image_url" | "video", _) => {
                Err(D::Error::custom(format!("a `{}` part also holds another kind's field", raw.r#type)))
            }
            (other, _) => Err(D::Error::custom(format!("part type `{other}` is none of `text`, `image`"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(json: &str) -> Result<Vec<Message>, Error> {
        messages_from_json("chat.json", json.as_bytes())
    }

    fn part(json: &str) -> Result<Part, serde_json::Error> {
        serde_json::from_str(json)
    }

    #[test]
    fn both_forms_of_content_are_kept() {
        let messages = read(
            r#"[{"role": "user", "content": "plain"},
                {"role": "assistant", "content": [{"type": "text", "text": "a"}, {"type": "image"}]}]"#,
        );
        let parts = Content::Parts(vec![Part::Text { text: "a".into() }, Part::Image]);
        let wanted = [Message::text(Role::User, "plain"), Message { role: Role::Assistant, content: parts }];
        assert_eq!(messages.unwrap(), wanted);
    }

    #[test]
    fn an_image_part_may_say_where_it_is_from() {
        for json in [
            r#"{"type": "image"}"#,
            r#"{"type": "image", "image": "a.png"}"#,
            r#"{"type": "image_url", "image_url": {"url": "x"}}"#,
            r#"{"type": "image", "text": null}"#,
        ] {
            assert_eq!(part(json).unwrap(), Part::Image, "{json}");
        }
    }

    #[test]
    fn what_a_part_cannot_be_is_named() {
        let cases = [
            (r#"{"type": "audio"}"#, "`audio`"),
            (r#"{"type": "text"}"#, "`text` string"),
            (r#"{"type": "text", "text": "a", "image": "b"}"#, "another kind's field"),
            (r#"{"type": "image", "text": "a"}"#, "another kind's field"),
            (r#"{"type": "image", "max_pixels": 5}"#, "max_pixels"),
            (r#"{"text": "a"}"#, "type"),
        ];
        for (json, reason) in cases {
            let error = part(json).unwrap_err().to_string();
            assert!(error.contains(reason), "{json}: {error}");
        }
        let error = read(r#"[{"role": "tool", "content": "x"}]"#).unwrap_err().to_string();
        assert!(error.contains("chat.json") && error.contains("`tool`"), "{error}");
        let error = read(r#"[{"role": "user", "content": 5}]"#).unwrap_err().to_string();
        assert!(error.contains("a string or a list of parts"), "{error}");
    }

    #[test]
    fn a_system_message_is_added_only_where_there_is_none() {
        let user = Message::text(Role::User, "q");
        let own = vec![Message::text(Role::System, "mine"), user.clone()];
        for system in [System::Default, System::Text("other".into()), System::None] {
            assert_eq!(with_system(own.clone(), system), own);
        }
        let chat = || vec![user.clone()];
        let first = |system| with_system(chat(), system)[0].clone();
        assert_eq!(first(System::Default), Message::text(Role::System, WETHINK_SYSTEM_PROMPT));
        assert_eq!(first(System::Text("other".into())), Message::text(Role::System, "other"));
        assert_eq!(with_system(chat(), System::None), chat());
    }

    fn any_part() -> impl Strategy<Value = Part> {
        prop_oneof![
            Just(Part::Image),
            Just(Part::Video),
            any::<String>().prop_map(|text| Part::Text { text })
        ]
    }

    proptest! {
        #[test]
        fn messages_survive_writing_and_reading(
            text: String,
            parts in prop::collection::vec(any_part(), 0..5),
        ) {
            let messages =
                vec![Message::text(Role::System, text), Message { role: Role::User, content: Content::Parts(parts) }];
            let json = serde_json::to_vec(&messages).unwrap();
            prop_assert_eq!(messages_from_json("m", &json).unwrap(), messages);
        }

        #[test]
        fn any_bytes_are_judged(bytes: Vec<u8>) {
            let _ = messages_from_json("m", &bytes);
        }
    }
}
