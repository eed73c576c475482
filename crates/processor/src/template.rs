//! The checkpoint's own chat template, rendered as transformers renders it: Jinja with `trim_blocks` and
//! `lstrip_blocks`, loop controls, Python's string methods, `raise_exception` and a `tojson` that leaves HTML alone.
//!
//! A template is bounded: in steps, in depth and in the length of what it writes. It is not bounded in the strings
//! that it builds on the way by doubling; nobody's template does that but a hostile one's, which fails the process
//! for want of memory.

use std::io;

use minijinja::{AutoEscape, Environment, ErrorKind, UndefinedBehavior, Value};
use serde::Serialize;

use crate::chat::Message;
use crate::error::{Error, bad_file};
use crate::released_files::{CONFIG_FILE, Read, get};
use crate::to_json::to_json;

/// Engine instructions that one rendering may take: enough for chats of many thousand messages.
const MAX_STEPS: u64 = 5_000_000;
/// Nested calls of macros, few enough for a small stack.
const MAX_DEPTH: usize = 64;
/// Bytes that a prompt may have: far beyond any context.
const MAX_PROMPT_BYTES: usize = 64 << 20;

const JINJA_FILE: &str = "chat_template.jinja";
const JSON_FILE: &str = "chat_template.json";

/// A compiled chat template.
#[derive(Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    file: String,
}

#[derive(Serialize)]
struct Context<'a> {
    messages: &'a [Message],
    add_generation_prompt: bool,
    add_vision_id: bool,
}

impl ChatTemplate {
    /// Compiles `source`, which errors call `file`.
    ///
    /// # Errors
    /// [`Error::Template`] when it is malformed.
    pub fn new(file: &str, source: &str) -> Result<ChatTemplate, Error> {
        let mut environment = Environment::new();
        environment.set_trim_blocks(true);
        environment.set_lstrip_blocks(true);
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        environment.set_undefined_behavior(UndefinedBehavior::Lenient);
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.set_recursion_limit(MAX_DEPTH);
        environment.set_fuel(Some(MAX_STEPS));
        environment.add_filter("tojson", to_json);
        environment.add_function("raise_exception", |message: String| -> Result<Value, minijinja::Error> {
            Err(minijinja::Error::new(ErrorKind::InvalidOperation, message))
        });
        environment
            .add_template_owned(file.to_owned(), source.to_owned())
            .map_err(|error| template_error(file, &error))?;
        Ok(ChatTemplate { environment, file: file.to_owned() })
    }

    /// The file that holds the template.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// Renders `messages`, with `add_generation_prompt` opening the assistant's turn and `add_vision_id` numbering
    /// the pictures.
    ///
    /// # Errors
    /// [`Error::Template`] when the template raises, exceeds a bound or fails otherwise.
    pub fn render(
        &self,
        messages: &[Message],
        add_generation_prompt: bool,
        add_vision_id: bool,
    ) -> Result<String, Error> {
        let failed = |error| template_error(&self.file, &error);
        let template = self.environment.get_template(&self.file).map_err(failed)?;
        let mut prompt = Bounded(Vec::new());
        template
            .render_captured_to(Context { messages, add_generation_prompt, add_vision_id }, &mut prompt)
            .map_err(failed)?;
        String::from_utf8(prompt.0)
            .map_err(|error| Error::Template { file: self.file.clone(), reason: error.to_string() })
    }

    /// Takes the template from the first file that has one, in transformers' order.
    pub(crate) fn load(read: Read, tokenizer_config: Option<&[u8]>) -> Result<ChatTemplate, Error> {
        if let Some(source) = get(read, JINJA_FILE)? {
            let source = String::from_utf8(source).map_err(|error| bad_file(JINJA_FILE, error))?;
            return ChatTemplate::new(JINJA_FILE, &source);
        }
        let json = get(read, JSON_FILE)?;
        let holders = [(JSON_FILE, json.as_deref()), (CONFIG_FILE, tokenizer_config)];
        for (file, bytes) in holders {
            let Some(bytes) = bytes else { continue };
            if let Some(source) = source_in(file, bytes)? {
                return ChatTemplate::new(file, &source);
            }
        }
        Err(Error::MissingFile {
            file: format!("{JSON_FILE}, {JINJA_FILE} or `chat_template` in {CONFIG_FILE}"),
            fix: "copy it from the released repository",
        })
    }
}

/// The `chat_template` of a JSON file: a string, or a list of named ones of which `default` is meant.
fn source_in(file: &str, bytes: &[u8]) -> Result<Option<String>, Error> {
    #[derive(serde::Deserialize)]
    struct Holder {
        chat_template: Option<Source>,
    }
    #[derive(serde::Deserialize)]
    #[serde(untagged)]
    enum Source {
        One(String),
        Named(Vec<Named>),
    }
    #[derive(serde::Deserialize)]
    struct Named {
        name: String,
        template: String,
    }
    let holder: Holder = serde_json::from_slice(bytes).map_err(|error| bad_file(file, error))?;
    match holder.chat_template {
        None => Ok(None),
        Some(Source::One(source)) => Ok(Some(source)),
        Some(Source::Named(named)) => match named.into_iter().find(|entry| entry.name == "default") {
            Some(entry) => Ok(Some(entry.template)),
            None => Err(bad_file(file, "`chat_template` lists no template named `default`")),
        },
    }
}

fn template_error(file: &str, error: &minijinja::Error) -> Error {
    let reason = match (error.kind(), std::error::Error::source(error)) {
        (ErrorKind::OutOfFuel, _) => format!("it does not end within {MAX_STEPS} steps"),
        (_, Some(source)) => format!("{error}: {source}"),
        (_, None) => error.to_string(),
    };
    Error::Template { file: file.to_owned(), reason }
}

/// A buffer that refuses to grow beyond [`MAX_PROMPT_BYTES`].
struct Bounded(Vec<u8>);

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > MAX_PROMPT_BYTES {
            return Err(io::Error::other(format!("the prompt is longer than {MAX_PROMPT_BYTES} bytes")));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::chat::{Content, Part, Role};

    fn render(source: &str) -> Result<String, Error> {
        let parts = Content::Parts(vec![Part::Image, Part::Text { text: "<b> & 'c'".into() }]);
        let messages = [Message::text(Role::System, " s "), Message { role: Role::User, content: parts }];
        ChatTemplate::new("t.jinja", source)?.render(&messages, true, false)
    }

    fn refused(source: &str) -> String {
        let error = render(source).unwrap_err().to_string();
        assert!(error.starts_with("t.jinja: chat template: "), "{error}");
        error
    }

    #[test]
    fn blocks_are_trimmed_as_transformers_trims_them() {
        assert_eq!(render("a\n  {% if true %}\n  b\n  {% endif %}\nc\n").unwrap(), "a\n  b\nc");
        assert_eq!(render("{% for m in messages -%}\n  {{ m.role }}\n{%- endfor %}").unwrap(), "systemuser");
    }

    #[test]
    fn the_dialect_is_that_of_chat_templates() {
        let cases = [
            ("{{ messages[0]['content'] is string }}{{ messages[1]['content'] is string }}", "TrueFalse"),
            ("{{ messages[0].content.strip() + '!' }}", "s!"),
            ("{{ messages[0].content.startswith(' s') }}{{ 'aXb'.split('X')[1] }}", "Trueb"),
            ("{{ messages[1].content[0].type }}{{ 'image' in messages[1].content[0] }}", "imageFalse"),
            (
                "{% set n = namespace(v=0) %}{% for m in messages %}{% set n.v = n.v + 1 %}{% endfor %}{{ n.v }}",
                "2",
            ),
            ("{% for i in range(9) %}{% if i == 2 %}{% break %}{% endif %}{{ i }}{% endfor %}", "01"),
            ("{{ messages[1].content[1] | tojson }}", r#"{"type": "text", "text": "<b> & 'c'"}"#),
            ("{{ [1, 'é'] | tojson(indent=1) }}", "[\n 1,\n \"é\"\n]"),
            ("{{ missing }}{% if tools %}x{% endif %}{{ add_generation_prompt }}", "True"),
        ];
        for (source, wanted) in cases {
            assert_eq!(render(source).unwrap(), wanted, "{source}");
        }
    }

    #[test]
    fn nothing_is_escaped_whatever_the_file_is_called() {
        let template = ChatTemplate::new("chat_template.html", "{{ messages[0].content }}").unwrap();
        let prompt = template.render(&[Message::text(Role::User, "<|x|> & \"")], false, false).unwrap();
        assert_eq!(prompt, "<|x|> & \"");
    }

    #[test]
    fn faults_name_the_file_and_the_line() {
        assert!(refused("a\n{% if %}").contains("t.jinja:2"));
        assert!(refused("{{ raise_exception('roles must alternate') }}").contains("roles must alternate"));
        assert!(refused("{{ messages[0].nothing.at_all }}").contains("undefined"));
        assert!(refused("{% include 'other' %}").contains("other"));
    }

    #[test]
    fn endless_work_is_cut_off() {
        let steps = "{% for a in range(9999) %}{% for b in range(9999) %}{{ '' }}{% endfor %}{% endfor %}";
        assert!(refused(steps).contains("does not end"));
        assert!(refused("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}").contains("recursion"));
        let long = "{% for a in range(9999) %}{{ 'xxxxxxxxxxxxxxxx' * 1000 }}{% endfor %}";
        assert!(refused(long).contains("longer than"));
    }

    #[test]
    fn a_long_chat_is_not_cut_off() {
        let template = ChatTemplate::new("t.jinja", crate::testing::TEMPLATE).unwrap();
        let chat = vec![Message::text(Role::User, "again?"); 10_000];
        assert_eq!(template.render(&chat, false, false).unwrap().matches("again?").count(), chat.len());
    }

    fn loaded(files: &[(&str, &str)]) -> Result<ChatTemplate, Error> {
        let get = |name: &str| {
            files.iter().find(|(file, _)| *file == name).map(|(_, text)| text.as_bytes().to_vec())
        };
        ChatTemplate::load(&mut |name| Ok(get(name)), get(CONFIG_FILE).as_deref())
    }

    #[test]
    fn the_template_comes_from_the_first_file_that_has_one() {
        let jinja = (JINJA_FILE, "jinja");
        let json = (JSON_FILE, r#"{"chat_template": "json"}"#);
        let config = (
            CONFIG_FILE,
            r#"{"chat_template": [{"name": "x", "template": "x"}, {"name": "default", "template": "config"}]}"#,
        );
        for (files, wanted) in
            [(vec![config, json, jinja], "jinja"), (vec![config, json], "json"), (vec![config], "config")]
        {
            assert_eq!(loaded(&files).unwrap().render(&[], false, false).unwrap(), wanted);
        }
        assert!(loaded(&[]).unwrap_err().to_string().contains(JSON_FILE));
        let unnamed = (JSON_FILE, r#"{"chat_template": [{"name": "x", "template": "x"}]}"#);
        assert!(loaded(&[unnamed]).unwrap_err().to_string().contains("`default`"));
        assert!(loaded(&[(JSON_FILE, "{")]).unwrap_err().to_string().contains(JSON_FILE));
    }

    proptest! {
        #[test]
        fn any_source_is_judged(pieces in prop::collection::vec(
            prop::sample::select(vec![
                "{%", "%}", "{{", "}}", "{#", "#}", "-", " for ", " in ", "messages", " if ", " else ", "endif", "endfor",
                " set ", "=", "a", ".", "[", "]", "(", ")", "'", "|", "tojson", "0", "1", "~", "*", "+", "macro ", "endmacro",
            ]), 0..40)) {
            let _ = render(&pieces.concat());
        }
    }
}
