//! Any source is a template that renders within its bounds, or an error.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wethink_processor::{ChatTemplate, Content, Message, Part, Role};

fuzz_target!(|source: &str| {
    let Ok(template) = ChatTemplate::new("chat_template.jinja", source) else {
        return;
    };
    let parts = Content::Parts(vec![Part::Image, Part::Text { text: "What is it?".into() }]);
    let messages = [Message::text(Role::System, "Be brief."), Message { role: Role::User, content: parts }];
    let _ = template.render(&messages, true, true);
});
