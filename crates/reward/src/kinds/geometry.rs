//! Boxes and points read from text: JSON in the shapes that vision-language models write, tags, or bare numbers.
//!
//! One pass over the characters, tolerant of what surrounds the numbers and of a reply that breaks off; intolerant of
//! the numbers themselves: a list that holds NaN or a word is no box, and an object that is cut off is dropped whole.

/// Boxes of one reply that are looked at.
pub(crate) const MAX_BOXES: usize = 256;

/// A box in continuous coordinates: x1, y1, x2, y2.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Region {
    pub corners: [f64; 4],
    pub label: Option<String>,
    /// Coordinates run to this (1000 for `box_2d`, 1024 for `<loc>`), if the notation says so.
    pub scale: Option<f64>,
}

/// What was found in a text.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub regions: Vec<Region>,
    /// Something has the form of a box but is none: NaN, inverted corners.
    pub malformed: bool,
    /// More than [`MAX_BOXES`].
    pub flood: bool,
}

impl Found {
    fn push(&mut self, corners: [f64; 4], label: Option<String>, scale: Option<f64>) {
        let [x1, y1, x2, y2] = corners;
        if !corners.iter().all(|c| c.is_finite() && c.abs() < 1e9) || x2 < x1 || y2 < y1 {
            self.malformed = true;
        } else if self.regions.len() >= MAX_BOXES {
            self.flood = true;
        } else {
            self.regions.push(Region { corners, label, scale });
        }
    }
}

/// An object or list that is open while scanning, with what it holds so far.
#[derive(Default)]
struct Frame {
    brace: bool,
    key: String,
    numbers: Vec<f64>,
    broken: bool,
    named: Vec<(String, f64)>,
    label: Option<String>,
    boxes: Vec<([f64; 4], Option<f64>)>,
}

/// All boxes of a text, in order of their end.
pub(crate) fn boxes(text: &str) -> Found {
    let mut found = Found::default();
    if text.contains("<loc") {
        locations(text, &mut found);
        return found;
    }
    nested(text, &mut found);
    if found.regions.is_empty() && !found.malformed {
        pairs_or_bare(text, &mut found);
    }
    found
}

/// Lists of four numbers, alone or as a value in an object with its label.
fn nested(text: &str, found: &mut Found) {
    let mut stack: Vec<Frame> = vec![Frame::default()];
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        let depth = stack.len();
        let Some(top) = stack.last_mut() else { break };
        match c {
            // Depth is bounded by ignoring what is deeper than any real reply.
            '{' | '[' | '(' if depth < 32 => stack.push(Frame { brace: c == '{', ..Frame::default() }),
            '}' | ']' | ')' if depth > 1 => {
                if let Some(frame) = stack.pop() {
                    close(frame, &mut stack, found);
                }
            }
            '"' | '\'' => {
                let start = at + 1;
                let end = text[start..].find(c).map_or(text.len(), |n| start + n);
                while chars.peek().is_some_and(|(i, _)| *i <= end) {
                    chars.next();
                }
                let word = &text[start..end];
                if text[end..].trim_start_matches(c).trim_start().starts_with(':') {
                    top.key = word.to_lowercase();
                } else if top.brace
                    && matches!(top.key.as_str(), "label" | "class" | "name" | "object" | "category")
                {
                    top.label = Some(word.trim().to_lowercase());
                }
            }
            '0'..='9' | '-' | '+' | '.' => {
                let end = number_end(text, at);
                while chars.peek().is_some_and(|(i, _)| *i < end) {
                    chars.next();
                }
                match text[at..end].parse::<f64>() {
                    Ok(n) if top.brace => {
                        let key = std::mem::take(&mut top.key);
                        top.named.push((key, n));
                    }
                    Ok(n) => top.numbers.push(n),
                    Err(_) => top.broken = true,
                }
            }
            c if c.is_alphabetic() && depth > 1 && !top.brace => top.broken = true,
            _ => {}
        }
        if stack.last().is_some_and(|f| f.numbers.len() > 4 * MAX_BOXES || f.named.len() > 64) {
            found.flood = true;
            return;
        }
    }
    // What is still open was cut off, but for lists that had closed inside an open list.
    for frame in stack.into_iter().filter(|f| !f.brace) {
        for (corners, scale) in frame.boxes {
            found.push(corners, None, scale);
        }
    }
}

/// A frame ends: a box, a pair that may be half a box, or a container of boxes.
fn close(mut frame: Frame, stack: &mut [Frame], found: &mut Found) {
    let Some(parent) = stack.last_mut() else { return };
    let key = if parent.brace { std::mem::take(&mut parent.key) } else { String::new() };
    if frame.brace {
        if let Some(corners) = by_name(&frame.named) {
            frame.boxes.push((corners, None));
        }
        for (corners, scale) in frame.boxes {
            found.push(corners, frame.label.clone(), scale);
        }
        return;
    }
    if frame.broken && (frame.numbers.len() >= 2) && frame.numbers.len() < 5 {
        found.malformed = true;
        return;
    }
    match frame.numbers[..] {
        [a, b, c, d] if frame.boxes.is_empty() => {
            let y_first = key == "box_2d";
            let corners = if y_first { [b, a, d, c] } else { [a, b, c, d] };
            parent.boxes.push((corners, y_first.then_some(1000.0)));
        }
        // Corners as pairs: (x1, y1), (x2, y2).
        [a, b] if frame.boxes.is_empty() => match parent.numbers.len() {
            2 if parent.boxes.is_empty() => {
                let (x, y) = (parent.numbers[0], parent.numbers[1]);
                parent.numbers.clear();
                parent.boxes.push(([x, y, a, b], None));
            }
            _ => parent.numbers.extend([a, b]),
        },
        _ => parent.boxes.extend(frame.boxes),
    }
    if stack.len() == 1 {
        for (corners, scale) in std::mem::take(&mut stack[0].boxes) {
            found.push(corners, None, scale);
        }
    }
}

/// `{"x1": .., "y1": .., "x2": .., "y2": ..}` and its spellings.
fn by_name(named: &[(String, f64)]) -> Option<[f64; 4]> {
    const NAMES: [[&str; 4]; 5] = [
        ["x1", "y1", "x2", "y2"],
        ["xmin", "ymin", "xmax", "ymax"],
        ["x_min", "y_min", "x_max", "y_max"],
        ["left", "top", "right", "bottom"],
        ["x0", "y0", "x1", "y1"],
    ];
    let get = |name: &str| named.iter().find(|(k, _)| k == name).map(|(_, v)| *v);
    NAMES.iter().find_map(|[a, b, c, d]| Some([get(a)?, get(b)?, get(c)?, get(d)?]))
}

/// `<loc0100>` four times, y first, in 1024ths (PaliGemma); the word after them is the label.
fn locations(text: &str, found: &mut Found) {
    let mut four: Vec<f64> = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find("<loc") {
        rest = &rest[at + 4..];
        let end = rest.find('>').unwrap_or(0);
        match rest[..end].parse::<u32>() {
            Ok(n) => four.push(f64::from(n)),
            Err(_) => found.malformed = true,
        }
        if let [y1, x1, y2, x2] = four[..] {
            let after = rest.get(end + 1..).unwrap_or("");
            let label = after.split(['<', ';', '\n']).next().unwrap_or("").trim().to_lowercase();
            found.push([x1, y1, x2, y2], (!label.is_empty()).then_some(label), Some(1024.0));
            four.clear();
        }
    }
}

/// `x1, y1, x2, y2` without brackets: all numbers of the text, if they are exactly four.
fn pairs_or_bare(text: &str, found: &mut Found) {
    let numbers = numbers(text, 5);
    if let [a, b, c, d] = numbers[..] {
        found.push([a, b, c, d], None, None);
    }
}

/// Up to `limit` numbers of a text, in order. A digit inside a word ("x1") is none.
pub(crate) fn numbers(text: &str, limit: usize) -> Vec<f64> {
    let mut out = Vec::new();
    let mut at = 0;
    while let Some(c) = text[at..].chars().next() {
        let word = text[..at].ends_with(|p: char| p.is_alphabetic() || p == '_');
        if (c.is_ascii_digit() || matches!(c, '-' | '.')) && !word {
            let end = number_end(text, at);
            if let Ok(n) = text[at..end].parse::<f64>() {
                out.push(n);
                if out.len() >= limit {
                    break;
                }
            }
            at = end;
        } else {
            at += c.len_utf8();
        }
    }
    out
}

/// The end of the number that begins at `at`, at least one byte further.
fn number_end(text: &str, at: usize) -> usize {
    let bytes = text.as_bytes();
    let mut i = at + usize::from(matches!(bytes[at], b'-' | b'+'));
    let mut point = false;
    while i < bytes.len() && (bytes[i].is_ascii_digit() || (bytes[i] == b'.' && !point)) {
        point |= bytes[i] == b'.';
        i += 1;
    }
    if matches!(bytes.get(i), Some(b'e' | b'E')) {
        let sign = i + 1 + usize::from(matches!(bytes.get(i + 1), Some(b'-' | b'+')));
        let digits = bytes[sign.min(bytes.len())..].iter().take_while(|b| b.is_ascii_digit()).count();
        if digits > 0 && digits < 4 {
            i = sign + digits;
        }
    }
    i.max(at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boxes_are_read_from_the_shapes_models_write() {
        let one: &[(&str, [f64; 4], Option<&str>)] = &[
            ("[1, 2, 3, 4]", [1., 2., 3., 4.], None),
            ("The box is [10.5,20,30,40.25].", [10.5, 20., 30., 40.25], None),
            ("(1, 2, 3, 4)", [1., 2., 3., 4.], None),
            ("1, 2, 3, 4", [1., 2., 3., 4.], None),
            (r#"{"bbox_2d": [1,2,3,4], "label": "Cat"}"#, [1., 2., 3., 4.], Some("cat")),
            (r#"{"label": "cat", "bbox": [1,2,3,4]}"#, [1., 2., 3., 4.], Some("cat")),
            (r#"[{"box_2d": [2,1,4,3]}]"#, [1., 2., 3., 4.], None),
            ("<|box_start|>(1,2),(3,4)<|box_end|>", [1., 2., 3., 4.], None),
            ("<box>[[1, 2, 3, 4]]</box>", [1., 2., 3., 4.], None),
            (r#"{"x1": 1, "y1": 2, "x2": 3, "y2": 4}"#, [1., 2., 3., 4.], None),
            ("<loc0002><loc0001><loc0004><loc0003> cat", [1., 2., 3., 4.], Some("cat")),
            ("[-1e1, 2, 3, 4]", [-10., 2., 3., 4.], None),
        ];
        for (text, corners, label) in one {
            let found = boxes(text);
            assert_eq!(found.regions.len(), 1, "{text}: {found:?}");
            assert_eq!(found.regions[0].corners, *corners, "{text}");
            assert_eq!(found.regions[0].label.as_deref(), *label, "{text}");
        }
    }

    #[test]
    fn broken_boxes_are_no_boxes() {
        for text in ["[NaN, 1, 2, 3]", "[3, 2, 1, 4]", "[1, 4, 3, 2]", "[1, 2, 1e999, 4]"] {
            let found = boxes(text);
            assert!(found.regions.is_empty() && found.malformed, "{text}: {found:?}");
        }
        let cut = r#"[{"bbox_2d": [1,2,3,4], "label": "cat"}, {"bbox_2d": [5,6,7,8], "lab"#;
        assert_eq!(boxes(cut).regions.len(), 1, "the object that was cut off is dropped whole");
        assert!(boxes("no numbers").regions.is_empty());
        assert!(boxes(&"[1,2,3,4]".repeat(1000)).flood);
        let _ = boxes(&"[".repeat(100_000));
    }
}
