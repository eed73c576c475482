//! A server that speaks as much of OpenAI's protocol as a judge needs, and misbehaves on request.
//!
//! It counts by content: how often each body arrived, and how often it was answered in full, which is what would be paid for.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// What the server does with a request.
#[derive(Debug, Clone)]
pub enum Act {
    /// A reply with these words, at 300 tokens in and 1 out.
    Say(&'static str),
    /// The same after a while.
    SayAfter(Duration, &'static str),
    /// A status with an error, and `Retry-After` in seconds.
    Status(u16, Option<u64>),
    /// Status 200 with this body.
    Raw(&'static str),
    /// Half of a reply, then the connection closes.
    CutOff,
    /// No answer for as long as the server lives.
    Hold,
}

/// One request as a script sees it.
#[derive(Debug, Clone)]
pub struct Request {
    /// The candidate between its fences.
    pub candidate: String,
    /// The text of the user's turn.
    pub text: String,
    /// URLs of the pictures.
    pub pictures: Vec<String>,
    /// The `authorization` header.
    pub authorization: Option<String>,
    /// How often the same body arrived before.
    pub before: usize,
    /// Requests that are being answered, this one included.
    pub at_once: usize,
    /// When it arrived.
    pub at: Instant,
}

#[derive(Debug, Default)]
struct State {
    arrived: HashMap<String, usize>,
    answered: HashMap<String, usize>,
    log: Vec<Request>,
    at_once: usize,
    closing: bool,
}

struct Shared {
    state: Mutex<State>,
    closed: Condvar,
    script: Box<dyn Fn(&Request) -> Act + Send + Sync>,
}

/// A running server; it stops with its value.
pub struct Server {
    shared: Arc<Shared>,
    address: std::net::SocketAddr,
}

impl Server {
    /// Starts on a free port of this machine.
    pub fn start(script: impl Fn(&Request) -> Act + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("its address");
        let shared = Shared { state: Mutex::default(), closed: Condvar::new(), script: Box::new(script) };
        let shared = Arc::new(shared);
        let serving = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming() {
                if serving.state().closing {
                    break;
                }
                let serving = Arc::clone(&serving);
                // A client that is killed breaks its connections: that is no failure of the server.
                thread::spawn(move || stream.and_then(|stream| serving.serve(stream)));
            }
        });
        Self { shared, address }
    }

    /// The URL for `--judge`.
    pub fn url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// Every request so far, in order of arrival.
    pub fn log(&self) -> Vec<Request> {
        self.shared.state().log.clone()
    }

    /// How often each content was answered in full.
    pub fn answered(&self) -> Vec<usize> {
        self.shared.state().answered.values().copied().collect()
    }

    /// Most requests at once.
    pub fn peak(&self) -> usize {
        self.log().iter().map(|request| request.at_once).max().unwrap_or(0)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.state().closing = true;
        self.shared.closed.notify_all();
        // Wakes the listener.
        drop(TcpStream::connect(self.address));
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let (authorization, body) = read(&stream)?;
        let mut request = parse(&body, authorization);
        {
            let mut state = self.state();
            let arrived = state.arrived.entry(body.clone()).or_default();
            request.before = *arrived;
            *arrived += 1;
            state.at_once += 1;
            request.at_once = state.at_once;
            state.log.push(request.clone());
        }
        let act = (self.script)(&request);
        if let Act::SayAfter(wait, _) = act {
            thread::sleep(wait);
        }
        if matches!(act, Act::Hold) {
            let held = self.closed.wait_while(self.state(), |state| !state.closing);
            drop(held.unwrap_or_else(PoisonError::into_inner));
        }
        // Before the answer is out: the client may begin the next request as soon as it has it.
        self.state().at_once -= 1;
        match act {
            Act::Say(words) | Act::SayAfter(_, words) => {
                *self.state().answered.entry(body).or_default() += 1;
                respond(&mut stream, 200, None, &completion(words))
            }
            Act::Status(status, retry_after) => {
                respond(&mut stream, status, retry_after, r#"{"error": {"message": "scripted"}}"#)
            }
            Act::Raw(body) => respond(&mut stream, 200, None, body),
            Act::CutOff => {
                let body = completion("Yes");
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
                stream.write_all(head.as_bytes())?;
                stream.write_all(&body.as_bytes()[..body.len() / 2])
            }
            Act::Hold => Ok(()),
        }
    }
}

fn completion(words: &str) -> String {
    json!({
        "id": "x", "object": "chat.completion", "created": 0, "model": "scripted",
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": words}}],
        "usage": {"prompt_tokens": 300, "completion_tokens": 1, "total_tokens": 301},
    })
    .to_string()
}

/// The `authorization` header and the body.
fn read(stream: &TcpStream) -> std::io::Result<(Option<String>, String)> {
    let mut reader = BufReader::new(stream);
    let (mut length, mut authorization) = (0, None);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        match line.trim_end().split_once(": ") {
            None if line.trim_end().is_empty() => break,
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                length = value.parse().expect("a length");
            }
            Some((name, value)) if name.eq_ignore_ascii_case("authorization") => {
                authorization = Some(value.to_owned());
            }
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok((authorization, String::from_utf8(body).expect("JSON is UTF-8")))
}

fn parse(body: &str, authorization: Option<String>) -> Request {
    let json: Value = serde_json::from_str(body).unwrap_or(Value::Null);
    let content = &json["messages"][1]["content"];
    let parts = content.as_array().cloned().unwrap_or_default();
    let texts = parts.iter().filter_map(|part| part["text"].as_str()).collect::<String>();
    let text = content.as_str().map_or(texts, str::to_owned);
    let url = |part: &Value| part["image_url"]["url"].as_str().map(str::to_owned);
    let candidate =
        text.split_once(" candidate]\n").map(|(_, rest)| rest).and_then(|rest| rest.split_once("\n["));
    Request {
        candidate: candidate.map(|(candidate, _)| candidate.to_owned()).unwrap_or_default(),
        pictures: parts.iter().filter_map(url).collect(),
        text,
        authorization,
        before: 0,
        at_once: 0,
        at: Instant::now(),
    }
}

fn respond(stream: &mut TcpStream, status: u16, retry_after: Option<u64>, body: &str) -> std::io::Result<()> {
    let retry = retry_after.map_or(String::new(), |seconds| format!("retry-after: {seconds}\r\n"));
    let head =
        format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n{retry}connection: close\r\n\r\n", body.len());
    stream.write_all(head.as_bytes())?;
    stream.write_all(body.as_bytes())
}
