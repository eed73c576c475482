//! MathML text to a tree of nodes from an allow-list: what a page may build, and nothing else.
//!
//! The text comes from a converter that writes some of what it was given unescaped, and what it was given is a model's
//! reply. So nothing of it is trusted: a tag that is not on the list refuses the whole formula, an attribute that is not
//! is dropped with its value. The lists hold nothing that loads, links, runs or carries a style.

use serde::{Deserialize, Serialize};

/// Elements that may be built.
pub const ELEMENTS: [&str; 25] = [
    "math",
    "mrow",
    "mi",
    "mn",
    "mo",
    "mtext",
    "ms",
    "mspace",
    "mfrac",
    "msqrt",
    "mroot",
    "msub",
    "msup",
    "msubsup",
    "munder",
    "mover",
    "munderover",
    "mmultiscripts",
    "mprescripts",
    "none",
    "mtable",
    "mtr",
    "mtd",
    "mpadded",
    "mphantom",
];

/// Attributes that may be set, to words, numbers and lengths only.
pub const ATTRIBUTES: [&str; 17] = [
    "display",
    "displaystyle",
    "scriptlevel",
    "mathvariant",
    "stretchy",
    "symmetric",
    "largeop",
    "movablelimits",
    "form",
    "fence",
    "separator",
    "accent",
    "accentunder",
    "linethickness",
    "width",
    "minsize",
    "maxsize",
];

/// Longest length that is kept, in em: a wider one would push everything else out of sight.
const MAX_EM: f64 = 8.0;

/// Nesting of a formula; browsers give up on trees much deeper than that.
const MAX_DEPTH: usize = 100;

/// Nodes of one formula.
const MAX_NODES: usize = 4000;

/// Names and values.
type Attributes = Vec<(String, String)>;

/// A node of MathML.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Node {
    /// Text.
    Text(String),
    /// Name, attributes, children; names are from [`ELEMENTS`] and [`ATTRIBUTES`].
    Element(String, Attributes, Vec<Node>),
}

/// Reads one `<math>` element; `None` if anything in it is not on the lists or not well-formed.
pub(crate) fn parse(text: &str) -> Option<Node> {
    let mut reader = Reader { rest: text, nodes: 0 };
    // Elements that are open, the outermost first.
    let mut open: Vec<Node> = Vec::new();
    loop {
        match reader.next()? {
            Token::Text(text) => children(open.last_mut()?).push(Node::Text(text)),
            Token::Open(node) if open.len() < MAX_DEPTH => open.push(node),
            Token::Open(_) => return None,
            Token::Whole(node) => children(open.last_mut()?).push(node),
            Token::Close(name) => {
                let node = open.pop().filter(|node| matches!(node, Node::Element(own, ..) if own == name))?;
                match open.last_mut() {
                    Some(parent) => children(parent).push(node),
                    None => return (reader.rest.is_empty() && name == "math").then_some(node),
                }
            }
        }
    }
}

fn children(node: &mut Node) -> &mut Vec<Node> {
    match node {
        Node::Element(_, _, children) => children,
        Node::Text(_) => unreachable!("only elements are opened"),
    }
}

enum Token<'a> {
    Text(String),
    Open(Node),
    Whole(Node),
    Close(&'a str),
}

struct Reader<'a> {
    rest: &'a str,
    nodes: usize,
}

impl<'a> Reader<'a> {
    /// The next token; `None` at the end, beyond [`MAX_NODES`] and at anything that is not allowed.
    fn next(&mut self) -> Option<Token<'a>> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            return None;
        }
        if let Some(rest) = self.rest.strip_prefix("</") {
            let (name, rest) = rest.split_once('>')?;
            self.rest = rest;
            return Some(Token::Close(name));
        }
        if starts_tag(self.rest) {
            let rest = &self.rest[1..];
            let end = rest.find(|c: char| !c.is_ascii_lowercase())?;
            let name = ELEMENTS.iter().find(|name| **name == &rest[..end])?;
            let (attributes, rest, whole) = attributes(&rest[end..])?;
            self.rest = rest;
            let node = Node::Element((*name).to_owned(), attributes, Vec::new());
            return Some(if whole { Token::Whole(node) } else { Token::Open(node) });
        }
        let first = self.rest.chars().next()?.len_utf8();
        // A `<` that begins no tag is the relation.
        let end = (first..self.rest.len())
            .find(|&i| {
                self.rest.is_char_boundary(i)
                    && (starts_tag(&self.rest[i..]) || self.rest[i..].starts_with("</"))
            })
            .unwrap_or(self.rest.len());
        let (text, rest) = self.rest.split_at(end);
        self.rest = rest;
        Some(Token::Text(unescaped(text)))
    }
}

fn starts_tag(text: &str) -> bool {
    text.strip_prefix('<').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_alphabetic() || c == '!'))
}

/// Attributes that may stay, what follows the tag, and whether the tag closes itself.
fn attributes(mut rest: &str) -> Option<(Attributes, &str, bool)> {
    let mut kept = Vec::new();
    loop {
        rest = rest.trim_start();
        if let Some(rest) = rest.strip_prefix("/>") {
            return Some((kept, rest, true));
        }
        if let Some(rest) = rest.strip_prefix('>') {
            return Some((kept, rest, false));
        }
        let (name, after) = rest.split_once("=\"")?;
        let (value, after) = after.split_once('"')?;
        if ATTRIBUTES.contains(&name) && plain(value) {
            kept.push((name.to_owned(), value.to_owned()));
        }
        rest = after;
    }
}

/// A word, a number, or a length that is not negative and not wider than [`MAX_EM`].
fn plain(value: &str) -> bool {
    let number = value.trim_end_matches(|c: char| c.is_ascii_alphabetic() || c == '%');
    match number {
        "" => value.len() <= 24 && !value.contains('%'),
        _ => {
            let most = match &value[number.len()..] {
                "" | "em" => MAX_EM,
                "px" | "pt" => 16.0 * MAX_EM,
                _ => return false,
            };
            number.parse::<f64>().is_ok_and(|length| (0.0..=most).contains(&length))
        }
    }
}

fn unescaped(text: &str) -> String {
    // `&amp;` last: what it uncovers is no entity.
    text.replace("&nbsp;", "\u{a0}").replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_formula_becomes_its_tree() {
        let text = r#"<math display="inline"><mi mathvariant="normal">x</mi><mo symmetric="true"minsize="1.2em">(</mo><mo><</mo><mspace width="0.1em" /><mn>1&lt;&amp;lt;</mn></math>"#;
        let element = |name: &str, attributes: &[(&str, &str)], text: &str| {
            let attributes = attributes.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
            let children = if text.is_empty() { vec![] } else { vec![Node::Text(text.into())] };
            Node::Element(name.into(), attributes, children)
        };
        let Node::Element(name, attributes, children) = parse(text).unwrap() else { panic!("an element") };
        assert_eq!((name.as_str(), attributes.len()), ("math", 1));
        let want = [
            element("mi", &[("mathvariant", "normal")], "x"),
            element("mo", &[("symmetric", "true"), ("minsize", "1.2em")], "("),
            element("mo", &[], "<"),
            element("mspace", &[("width", "0.1em")], ""),
            element("mn", &[], "1<&lt;"),
        ];
        assert_eq!(children, want);
    }

    #[test]
    fn what_is_not_on_the_lists_is_refused_or_dropped() {
        for text in [
            "<math><script>x</script></math>",
            "<math><img src=\"x\" /></math>",
            "<math><mi>x</mi>",
            "<math><mi>x</mo></math>",
            "<math><MI>x</MI></math>",
            "<math><!-- --></math>",
            "<math></math><math></math>",
            "<mrow></mrow>",
            "text",
            "<math><mi href=x>x</mi></math>",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
        let deep = format!("<math>{}{}</math>", "<mrow>".repeat(200), "</mrow>".repeat(200));
        assert_eq!(parse(&deep), None);
        let kept = |attribute: &str| {
            let Some(Node::Element(_, kept, _)) = parse(&format!("<math {attribute}></math>")) else {
                panic!("{attribute}")
            };
            kept.len() == 1
        };
        for (attribute, want) in [
            (r#"style="color: red""#, false),
            (r#"class="x""#, false),
            (r#"onclick="x""#, false),
            (r#"href="javascript:x""#, false),
            (r#"display="url(x)""#, false),
            (r#"width="999em""#, false),
            (r#"width="-1em""#, false),
            (r#"width="1em""#, true),
            (r#"stretchy="true""#, true),
            (r#"scriptlevel="1""#, true),
        ] {
            assert_eq!(kept(attribute), want, "{attribute}");
        }
    }
}
