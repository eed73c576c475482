//! Thought and answer as WeThink's model writes them, and the wrappers found around both in the published rows.
//!
//! `refined_cot` may already carry `<think>` and `<answer>` tags and whole answer blocks; those are dropped before the
//! response is built, or the model would learn to answer inside its thought.

const TAGS: [&str; 4] = ["<think>", "</think>", "<answer>", "</answer>"];

/// A thought without tags and without answer blocks, trimmed. One pass, so that tags which only appear once others are
/// dropped go too, in linear time.
pub(crate) fn clean_thought(text: &str) -> String {
    strip(text, true)
}

/// An answer without tags, trimmed.
pub(crate) fn clean_answer(text: &str) -> String {
    strip(text, false)
}

fn strip(text: &str, blocks: bool) -> String {
    let mut out = String::with_capacity(text.len());
    // Where the first `<answer>` that is still open began.
    let mut open: Option<usize> = None;
    for c in text.chars() {
        out.push(c);
        let Some(tag) = (c == '>').then(|| TAGS.into_iter().find(|tag| out.ends_with(tag))).flatten() else {
            continue;
        };
        out.truncate(out.len() - tag.len());
        open = open.map(|start| start.min(out.len()));
        match tag {
            "<answer>" if open.is_none() => open = Some(out.len()),
            "</answer>" if blocks => out.truncate(open.take().unwrap_or(out.len())),
            _ => {}
        }
    }
    let trimmed = out.trim();
    if trimmed.len() == out.len() { out } else { trimmed.to_owned() }
}

/// The released form: `<think>\n…\n</think>\n<answer>\n…\n</answer>`.
pub(crate) fn response(thought: &str, answer: &str) -> String {
    format!("<think>\n{thought}\n</think>\n<answer>\n{answer}\n</answer>")
}

/// A response to thought and answer, both cleaned. The answer is the first `<answer>` block, else what follows
/// `</think>`, else everything; the thought is what stands before it, if anything does.
pub(crate) fn parse(response: &str) -> (Option<String>, String) {
    let some = |text: String| (!text.is_empty()).then_some(text);
    if let Some((before, rest)) = response.split_once("<answer>")
        && let Some((answer, _)) = rest.split_once("</answer>")
    {
        return (some(clean_thought(before)), clean_answer(answer));
    }
    match response.split_once("</think>") {
        Some((thought, answer)) => (some(clean_thought(thought)), clean_answer(answer)),
        None => (None, response.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn wrappers_and_answer_blocks_go() {
        for (text, wanted) in [
            ("plain", "plain"),
            ("<think>\nfirst\n</think>\n<answer>\n4\n</answer>", "first"),
            ("a <answer>4</answer> b <answer>5</answer> c", "a  b  c"),
            ("a <answer>4", "a 4"),
            ("a </answer> b", "a  b"),
            ("<answer>4</answer>", ""),
            ("if x <y> and a<b", "if x <y> and a<b"),
            ("<thi<think>nk>x", "x"),
            ("<ans<answer>wer>ö</answer>x", "x"),
        ] {
            assert_eq!(clean_thought(text), wanted, "{text}");
        }
        assert_eq!(clean_answer("<answer> 42 </answer>"), "42");
    }

    #[test]
    fn hostile_nesting_takes_linear_time() {
        let text = "<think".repeat(1 << 18) + &">".repeat(1 << 18);
        assert_eq!(clean_thought(&text), "");
    }

    #[test]
    fn responses_come_apart() {
        for (text, thought, answer) in [
            ("<think>\nso\n</think>\n<answer>\n4 \n</answer>", Some("so"), "4"),
            ("<think>so</think> four", Some("so"), "four"),
            ("so <answer>4</answer> and more", Some("so"), "4"),
            ("four", None, "four"),
            ("<answer>4", None, "<answer>4"),
        ] {
            assert_eq!(parse(text), (thought.map(str::to_owned), answer.to_owned()), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_tag_survives_and_cleaning_twice_changes_nothing(
            pieces in prop::collection::vec(prop_oneof![
                prop::sample::select(vec!["<think>", "</think>", "<answer>", "</answer>", "<ans", "wer>", "<thi", "nk>", " ", "ö"])
                    .prop_map(str::to_owned),
                any::<String>(),
            ], 0..12)
        ) {
            let thought = clean_thought(&pieces.concat());
            prop_assert!(TAGS.iter().all(|tag| !thought.contains(tag)));
            prop_assert_eq!(clean_thought(&thought), thought.clone());
            let answer = clean_answer(&pieces.concat());
            prop_assert!(TAGS.iter().all(|tag| !answer.contains(tag)));
            if !thought.is_empty() {
                prop_assert_eq!(parse(&response(&thought, &answer)), (Some(thought), answer));
            }
        }
    }
}
