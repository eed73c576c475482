//! What `ask` is asked: one JavaScript object, read like JSON.

use serde::{Deserialize, Deserializer};
use serde_json::Value;
use wethink_model::{Options, Sampling};
use wethink_processor::{Message, System, messages_from_json, with_system};

use crate::pace::Pace;

/// A question.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Request {
    /// The chat.
    messages: Value,
    /// Left out: WeThink's system prompt; null: none of ours.
    #[serde(default, deserialize_with = "present")]
    system: Option<Option<String>>,
    /// Tokens of the answer at most.
    #[serde(default = "thousand")]
    max_new_tokens: usize,
    /// Tokens before the answer may end.
    #[serde(default)]
    min_new_tokens: usize,
    /// 0 always takes the best token.
    #[serde(default)]
    temperature: f64,
    #[serde(default)]
    top_p: Option<f64>,
    #[serde(default)]
    top_k: Option<usize>,
    #[serde(default = "one")]
    repetition_penalty: f64,
    /// Key of all random draws.
    #[serde(default)]
    seed: u64,
    /// Texts that end the answer.
    #[serde(default)]
    stop: Vec<String>,
    /// Tokens that the device computes between two waits, where that is chosen.
    #[serde(default)]
    tokens_per_reading: Option<usize>,
}

/// Why a question cannot be asked.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// An option that is not understood.
    #[error("option `{field}`: {problem}")]
    Option {
        /// Its path.
        field: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The messages are not what a chat is.
    #[error(transparent)]
    Messages(#[from] wethink_processor::Error),
    /// A setting of sampling is outside its range.
    #[error(transparent)]
    Sampling(#[from] wethink_model::SamplingError),
    /// Prompt and answer exceed what a chat was given, or the model's positions.
    #[error(
        "a prompt of {prompt} tokens and maxNewTokens {answer} exceed the {limit} tokens that a chat has here; lower \
         maxNewTokens, send smaller pictures or fewer turns, or load the model with more contextTokens"
    )]
    Length {
        /// Tokens of the prompt.
        prompt: usize,
        /// Tokens of the answer.
        answer: usize,
        /// Tokens of a chat.
        limit: usize,
    },
}

impl Request {
    /// Reads a request.
    pub fn read<'de, D: Deserializer<'de>>(object: D) -> Result<Self, RequestError> {
        serde_path_to_error::deserialize(object).map_err(|error| RequestError::Option {
            field: error.path().to_string(),
            problem: error.inner().to_string(),
        })
    }

    /// The chat, with its system prompt.
    pub fn messages(&self) -> Result<Vec<Message>, RequestError> {
        let messages = messages_from_json("messages", self.messages.to_string().as_bytes())?;
        let system = match &self.system {
            None => System::Default,
            Some(None) => System::None,
            Some(Some(text)) => System::Text(text.clone()),
        };
        Ok(with_system(messages, system))
    }

    /// How to generate, with the model's ids that end an answer.
    pub fn options(&self, stop_ids: &[u32]) -> Result<Options, RequestError> {
        let sampling = Sampling {
            temperature: self.temperature,
            top_k: self.top_k,
            top_p: self.top_p,
            repetition_penalty: self.repetition_penalty,
        };
        sampling.check()?;
        if self.stop.iter().any(String::is_empty) {
            let problem = "an empty text would end every answer; leave it out".into();
            return Err(RequestError::Option { field: "stop".into(), problem });
        }
        Ok(Options {
            sampling,
            max_new_tokens: self.max_new_tokens,
            min_new_tokens: self.min_new_tokens,
            stop_ids: stop_ids.to_vec(),
            stop_strings: self.stop.clone(),
            seed: self.seed,
            step: 0,
        })
    }

    /// How many tokens are computed between two waits.
    pub fn pace(&self) -> Result<Pace, RequestError> {
        if self.tokens_per_reading == Some(0) {
            let problem = "0, but a reading brings at least 1 token".into();
            return Err(RequestError::Option { field: "tokensPerReading".into(), problem });
        }
        Ok(Pace::new(self.tokens_per_reading))
    }

    /// Tokens that prompt and answer take together; more than `limit` is refused, never cut.
    pub fn tokens(&self, prompt: usize, limit: usize) -> Result<usize, RequestError> {
        let answer = self.max_new_tokens;
        let tokens = prompt.checked_add(answer).filter(|&tokens| tokens <= limit);
        tokens.ok_or(RequestError::Length { prompt, answer, limit })
    }
}

/// Tells null from left out.
fn present<'de, D: Deserializer<'de>>(value: D) -> Result<Option<Option<String>>, D::Error> {
    Option::deserialize(value).map(Some)
}

fn thousand() -> usize {
    1000
}

fn one() -> f64 {
    1.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use wethink_processor::Role;

    const CHAT: &str =
        r#""messages": [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "?"}]}]"#;

    fn from_json(text: &str) -> Result<Request, RequestError> {
        Request::read(&mut serde_json::Deserializer::from_str(text))
    }

    fn read(rest: &str) -> Result<Request, RequestError> {
        from_json(&format!("{{{CHAT}{rest}}}"))
    }

    #[test]
    fn a_system_prompt_left_out_is_wethinks_and_null_is_none() {
        let system = |rest: &str| {
            let messages = read(rest).expect("sound").messages().expect("a chat");
            messages.into_iter().find(|message| message.role == Role::System)
        };
        assert_eq!(system(""), Some(Message::text(Role::System, wethink_processor::WETHINK_SYSTEM_PROMPT)));
        assert_eq!(system(r#", "system": null"#), None);
        assert_eq!(system(r#", "system": "Be brief.""#), Some(Message::text(Role::System, "Be brief.")));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (rest, field) in [
            (r#", "maxNewTokens": -1"#, "maxNewTokens"),
            (r#", "maxNewTokens": 1.5"#, "maxNewTokens"),
            (r#", "temperature": "hot""#, "temperature"),
            (r#", "max_new_tokens": 1"#, "max_new_tokens"),
            (r#", "stop": "done""#, "stop"),
            (r#", "tokensPerReading": -1"#, "tokensPerReading"),
        ] {
            let error = read(rest).expect_err(rest).to_string();
            assert!(error.contains(field), "{error}");
        }
        let cold = read(r#", "temperature": -1"#).expect("well-formed");
        assert!(cold.options(&[]).expect_err("out of range").to_string().contains("temperature"));
        let empty = read(r#", "stop": ["done", ""], "tokensPerReading": 0"#).expect("well-formed");
        assert!(empty.options(&[]).expect_err("ends everything").to_string().contains("`stop`"));
        assert!(empty.pace().expect_err("never reads").to_string().contains("tokensPerReading"));
        let request = from_json(r#"{"messages": [{"role": "nobody", "content": ""}]}"#).expect("well-formed");
        assert!(request.messages().expect_err("no such role").to_string().contains("messages"));
    }

    #[test]
    fn a_chat_beyond_the_positions_is_refused_with_both_counts() {
        let request = read(r#", "maxNewTokens": 10"#).expect("sound");
        assert_eq!(request.tokens(90, 100).expect("fits"), 100);
        for prompt in [91, usize::MAX] {
            let error = request.tokens(prompt, 100).expect_err("too long").to_string();
            assert!(error.contains("100") && error.contains("maxNewTokens 10"), "{error}");
        }
    }
}
