//! A judge behind OpenAI's chat protocol: any server that speaks it.
//!
//! The request's types are async-openai's; it is sent past its `Client`, whose own retries would multiply with these, hide 429
//! from [`Pace`] and drop `Retry-After`. Replies are read leniently, since compatible servers leave out much of what OpenAI sends.
//!
//! | what comes back | what follows |
//! |---|---|
//! | 200 with a reply | kept |
//! | 429, 5xx, 408, no answer in time | fewer requests at once; again after `Retry-After`, else after a growing pause |
//! | no connection, cut off, 200 with something else | again after a growing pause |
//! | 401, 402, 403, 404, 429 for want of quota | nothing further is asked |
//! | any other | this ask failed |
//!
//! A request that may have been computed but whose reply was lost counts as paid.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use async_openai::types::chat::{
    ChatCompletionRequestMessage, ChatCompletionRequestMessageContentPartImage,
    ChatCompletionRequestUserMessageContent, ChatCompletionRequestUserMessageContentPart,
    CreateChatCompletionRequest, ImageUrl,
};
use serde::Deserialize;
use wethink_reward::judge::{Ask, Expect};

use crate::picture::data_url;

use super::budget::{Held, Ledger, Tokens};
use super::pace::{Pace, Permit};
use super::replies;
use super::{Failure, Stop};

/// Times one ask is sent at most.
const ATTEMPTS: u32 = 5;

/// The pause after the first failure; it doubles, and half of it is chance.
const PAUSE: Duration = Duration::from_millis(400);

/// The longest a server may ask us to wait.
const LONGEST_WAIT: Duration = Duration::from_secs(120);

/// Bytes of a reply; ours are a few words.
const MAX_REPLY: usize = 1 << 20;

/// Most tokens Qwen2.5-VL makes of one picture: 12,845,056 pixels of 28² a token. Set aside, not charged.
const PICTURE_TOKENS: u64 = 16_384;

/// Tokens a chat template adds around two messages, at most.
const TEMPLATE_TOKENS: u64 = 64;

/// What a server sent, whatever it is.
struct Answer {
    status: u16,
    retry_after: Option<Duration>,
    body: Vec<u8>,
}

/// Why nothing came back.
enum Lost {
    /// The server cannot have seen the request.
    Unsent(String),
    /// No answer in time.
    Late,
    /// The connection broke, or the reply is too long.
    Broken(String),
}

type Sending = Pin<Box<dyn Future<Output = Result<Answer, Lost>> + Send>>;

/// A server and the account with it.
pub struct Endpoint {
    post: Box<dyn Fn(Vec<u8>) -> Sending + Send + Sync>,
    url: String,
    model: String,
    pace: Pace,
    ledger: Ledger,
}

/// What an [`Endpoint`] is made from.
pub struct Settings {
    /// The URL up to and including `/v1`.
    pub base: String,
    /// The model's name there.
    pub model: String,
    /// The key, if the server wants one.
    pub key: Option<String>,
    /// How long one request may take.
    pub timeout: Duration,
    /// Requests at once, at most.
    pub concurrency: usize,
}

/// The parts of a reply that matter; anything else may be there or not.
#[derive(Deserialize)]
struct Completion {
    choices: Vec<Choice>,
    usage: Option<Usage>,
}

#[derive(Deserialize)]
struct Choice {
    message: Message,
}

#[derive(Deserialize)]
struct Message {
    content: Option<String>,
}

#[derive(Deserialize)]
struct Usage {
    prompt_tokens: u64,
    completion_tokens: u64,
}

/// How one attempt ended.
enum Attempt {
    Replied(String),
    Again(String),
    Failed(Failure),
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Endpoint").field("url", &self.url).field("model", &self.model).finish_non_exhaustive()
    }
}

impl Endpoint {
    /// Makes ready; nothing is sent.
    pub fn new(settings: Settings, ledger: Ledger) -> Result<Self> {
        let base = settings.base.trim_end_matches('/');
        if !(base.starts_with("http://") || base.starts_with("https://")) {
            bail!("--judge {base}: write the whole URL, as in https://api.openai.com/v1");
        }
        let url = format!("{base}/chat/completions");
        let post = post(url.clone(), settings.key, settings.timeout)?;
        Ok(Self { post, url, model: settings.model, pace: Pace::new(settings.concurrency), ledger })
    }

    /// The account.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Requests at once, at most.
    pub fn ceiling(&self) -> usize {
        self.pace.ceiling()
    }

    /// The key of an ask: everything that is sent, and where to.
    pub fn key(&self, ask: &Ask, pictures: &[Vec<u8>]) -> String {
        let texts = [&self.url, &self.model, &ask.system, &ask.text].map(|text| text.as_bytes());
        replies::key(texts.into_iter().chain(pictures.iter().map(Vec::as_slice)))
    }

    /// The reply to one ask. `stopped` is looked at before every attempt.
    pub async fn ask(
        &self,
        ask: &Ask,
        pictures: &[Vec<u8>],
        stopped: impl Fn() -> Option<Stop>,
    ) -> Result<String, Failure> {
        let body = self.body(ask, pictures).map_err(|error| Failure::Ask(format!("{error:#}")))?;
        let text = (ask.system.len() + ask.text.len()) as u64;
        let input = text + TEMPLATE_TOKENS + PICTURE_TOKENS * pictures.len() as u64;
        let most = Tokens { input, output: reply_tokens(ask.expect).into() };
        let mut last = String::new();
        for attempt in 0..ATTEMPTS {
            if attempt > 0 {
                tokio::time::sleep(pause(&body, attempt)).await;
            }
            let permit = self.pace.permit().await;
            if let Some(stop) = stopped() {
                return Err(Failure::Stopped(stop));
            }
            let held = self.ledger.hold(most).await.map_err(|_| Failure::Stopped(Stop::Budget))?;
            match settle((self.post)(body.clone()).await, permit, held) {
                Attempt::Replied(text) => return Ok(text),
                Attempt::Again(reason) => last = reason,
                Attempt::Failed(failure) => return Err(failure),
            }
        }
        Err(Failure::Ask(format!("{ATTEMPTS} attempts, the last: {last}")))
    }

    fn body(&self, ask: &Ask, pictures: &[Vec<u8>]) -> Result<Vec<u8>> {
        let mut parts = Vec::new();
        for picture in pictures {
            let image_url = ImageUrl { url: data_url(picture)?, detail: None };
            let part =
                ChatCompletionRequestMessageContentPartImage { image_url, prompt_cache_breakpoint: None };
            parts.push(ChatCompletionRequestUserMessageContentPart::ImageUrl(part));
        }
        let content = match parts.is_empty() {
            true => ChatCompletionRequestUserMessageContent::Text(ask.text.clone()),
            false => {
                let text = ask.text.as_str().into();
                parts.push(ChatCompletionRequestUserMessageContentPart::Text(text));
                ChatCompletionRequestUserMessageContent::Array(parts)
            }
        };
        let request = CreateChatCompletionRequest {
            model: self.model.clone(),
            messages: vec![
                ChatCompletionRequestMessage::System(ask.system.as_str().into()),
                ChatCompletionRequestMessage::User(content.into()),
            ],
            temperature: Some(0.0),
            max_completion_tokens: Some(reply_tokens(ask.expect)),
            ..CreateChatCompletionRequest::default()
        };
        Ok(serde_json::to_vec(&request)?)
    }
}

/// What an attempt's end means for pace, account and ask.
fn settle(sent: Result<Answer, Lost>, permit: Permit<'_>, held: Held<'_>) -> Attempt {
    let answer = match sent {
        Ok(answer) => answer,
        Err(Lost::Unsent(reason)) => return Attempt::Again(reason),
        Err(Lost::Broken(reason)) => {
            held.pay(None);
            return Attempt::Again(reason);
        }
        Err(Lost::Late) => {
            permit.complained(None);
            held.pay(None);
            return Attempt::Again("no answer in time".to_owned());
        }
    };
    let whole = String::from_utf8_lossy(&answer.body);
    // A server's words go to a terminal.
    let said = || whole.trim().chars().take(200).collect::<String>().escape_debug().to_string();
    let status = answer.status;
    match status {
        200..300 => {
            permit.went_well();
            let Ok(completion) = serde_json::from_slice::<Completion>(&answer.body) else {
                held.pay(None);
                return Attempt::Again(format!("status {status} with no reply in it: {}", said()));
            };
            let usage = completion.usage;
            held.pay(usage.map(|u| Tokens { input: u.prompt_tokens, output: u.completion_tokens }));
            let text = completion.choices.into_iter().next().and_then(|choice| choice.message.content);
            Attempt::Replied(text.unwrap_or_default())
        }
        429 if whole.contains("insufficient_quota") => unusable(status, &said()),
        429 | 408 | 500..600 => match answer.retry_after.filter(|wait| *wait > LONGEST_WAIT) {
            Some(wait) => unusable(status, &format!("the server asks to wait {} s", wait.as_secs())),
            None => {
                permit.complained(answer.retry_after);
                Attempt::Again(format!("status {status}: {}", said()))
            }
        },
        401..=404 => unusable(status, &said()),
        _ => Attempt::Failed(Failure::Ask(format!("status {status}: {}", said()))),
    }
}

fn unusable(status: u16, said: &str) -> Attempt {
    let fix = match status {
        401 | 403 => "; check the key (OPENAI_API_KEY, or --judge-key-env)",
        404 => "; check --judge, whose URL ends in /v1 on most servers, and --judge-model",
        _ => "",
    };
    Attempt::Failed(Failure::Stopped(Stop::Unusable(format!("status {status}: {said}{fix}"))))
}

/// Tokens a reply may have: its words, and room for a server's way of writing them.
fn reply_tokens(expect: Expect) -> u32 {
    match expect {
        Expect::YesNo => 8,
        Expect::Facts(n) => 8 + 6 * n as u32,
    }
}

/// A pause that doubles with every attempt, between half of itself and whole by the content, so that requests which failed
/// together do not come back together.
fn pause(body: &[u8], attempt: u32) -> Duration {
    let chance = replies::key([body, &attempt.to_le_bytes()]);
    let share = u32::from_str_radix(&chance[..4], 16).unwrap_or(0);
    let whole = PAUSE * 2u32.pow(attempt - 1);
    whole / 2 + whole / 2 * share / 0xffff
}

/// What sends a body to `url`.
fn post(
    url: String,
    key: Option<String>,
    timeout: Duration,
) -> Result<Box<dyn Fn(Vec<u8>) -> Sending + Send + Sync>> {
    // An earlier provider is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().build();
    let client = client.context("no HTTPS on this system; install its certificates (ca-certificates)")?;
    Ok(Box::new(move |body| {
        let request =
            client.post(&url).header("content-type", "application/json").timeout(timeout).body(body);
        let request = match &key {
            Some(key) => request.bearer_auth(key),
            None => request,
        };
        let lost = |error: &dyn std::error::Error, unsent: bool, late: bool| match (unsent, late) {
            (true, _) => Lost::Unsent(chain(error)),
            (_, true) => Lost::Late,
            _ => Lost::Broken(chain(error)),
        };
        Box::pin(async move {
            let sent = request.send().await;
            let mut answer = sent.map_err(|e| lost(&e, e.is_connect() || e.is_builder(), e.is_timeout()))?;
            let header = answer.headers().get("retry-after").and_then(|value| value.to_str().ok());
            // A date is allowed there too; it is passed over, and the pause is ours.
            let retry_after = header.and_then(|value| value.trim().parse().ok()).map(Duration::from_secs);
            let mut body = Vec::new();
            while let Some(piece) = answer.chunk().await.map_err(|e| lost(&e, false, e.is_timeout()))? {
                if body.len() + piece.len() > MAX_REPLY {
                    return Err(Lost::Broken(format!("a reply of more than {MAX_REPLY} bytes")));
                }
                body.extend_from_slice(&piece);
            }
            Ok(Answer { status: answer.status().as_u16(), retry_after, body })
        })
    }))
}

/// An error with what is behind it; the outermost alone says little.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_and_differ_by_content() {
        for attempt in 1..ATTEMPTS {
            let whole = PAUSE * 2u32.pow(attempt - 1);
            let pauses: Vec<Duration> = (0..50u8).map(|i| pause(&[i], attempt)).collect();
            assert!(pauses.iter().all(|p| *p >= whole / 2 && *p <= whole), "{pauses:?}");
            assert!(pauses.iter().collect::<std::collections::HashSet<_>>().len() > 40);
            assert_eq!(pause(&[1], attempt), pauses[1]);
        }
    }

    #[test]
    fn a_url_is_whole() {
        let settings = |base: &str| Settings {
            base: base.to_owned(),
            model: "m".to_owned(),
            key: None,
            timeout: Duration::from_secs(1),
            concurrency: 1,
        };
        let ledger = || Ledger::new(None, Default::default());
        let error =
            Endpoint::new(settings("localhost:8000/v1"), ledger()).expect_err("no scheme").to_string();
        assert!(error.contains("whole URL"), "{error}");
        let endpoint = Endpoint::new(settings("http://localhost:1/v1/"), ledger()).expect("fine");
        assert_eq!(endpoint.url, "http://localhost:1/v1/chat/completions");
    }
}
