//! Text with mathematics in it. Everything becomes text nodes, but for MathML that is built node by node.

use leptos::prelude::*;
use web_sys::{Element, Node as DomNode};
use wethink_checker::{ATTRIBUTES, ELEMENTS, Node, Piece};

const MATHML: &str = "http://www.w3.org/1998/Math/MathML";

/// Pieces in order, as they are set in a line of text.
#[component]
pub fn Pieces(pieces: Vec<Piece>) -> impl IntoView {
    pieces
        .into_iter()
        .map(|piece| match (piece.math, piece.marked) {
            (Some(node), marked) => {
                let place = NodeRef::<leptos::html::Span>::new();
                place.on_load(move |span| {
                    let built = build(&node);
                    // A formula that cannot be built is shown as it was written.
                    match built {
                        Some(built) => drop(span.append_child(&built)),
                        None => span.set_text_content(Some(&piece.text)),
                    }
                });
                view! { <span class="math" class:marked=marked node_ref=place></span> }.into_any()
            }
            (None, true) => view! { <mark>{piece.text}</mark> }.into_any(),
            (None, false) => piece.text.into_any(),
        })
        .collect_view()
}

/// A text with a span to mark, without mathematics.
pub fn plain(text: &str, span: Option<[usize; 2]>) -> Vec<Piece> {
    let piece = |text: &str, marked| Piece { text: text.to_owned(), math: None, marked };
    let cut = span.and_then(|[a, b]| Some((text.get(..a)?, text.get(a..b)?, text.get(b..)?)));
    match cut {
        Some((before, marked, after)) => vec![piece(before, false), piece(marked, true), piece(after, false)],
        None => vec![piece(text, false)],
    }
}

/// Builds a node. The worker sends what is on the lists only; here is where it must be.
fn build(node: &Node) -> Option<DomNode> {
    match node {
        Node::Text(text) => Some(document().create_text_node(text).into()),
        Node::Element(name, attributes, children) => {
            if !ELEMENTS.contains(&name.as_str()) {
                return None;
            }
            let element: Element = document().create_element_ns(Some(MATHML), name).ok()?;
            for (name, value) in attributes.iter().filter(|(name, _)| ATTRIBUTES.contains(&name.as_str())) {
                element.set_attribute(name, value).ok()?;
            }
            for child in children {
                element.append_child(&build(child)?).ok()?;
            }
            Some(element.into())
        }
    }
}
