//! A row as the chat that the model is trained on.

use wethink_data::Row;
use wethink_processor::{Content, Message, Part, Role, System, with_system};

/// System prompt (the row's own, else WeThink's), then the question with its pictures in their places.
pub(super) fn prompt(row: &Row) -> Vec<Message> {
    let part = |part| match part {
        wethink_data::Part::Image(_) => Part::Image,
        wethink_data::Part::Text(text) => Part::Text { text: text.to_owned() },
    };
    let content = Content::Parts(row.parts().into_iter().map(part).collect());
    let system = row.system.clone().map_or(System::Default, System::Text);
    with_system(vec![Message { role: Role::User, content }], system)
}

/// The prompt and the response that the model is to learn.
pub(super) fn whole(row: &Row) -> Vec<Message> {
    let mut messages = prompt(row);
    messages.push(Message::text(Role::Assistant, row.response()));
    messages
}
