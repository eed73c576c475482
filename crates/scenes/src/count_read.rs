//! A question of Task A in a person's words, back to what it asks: the wordings the other way round.

use crate::count::{Color, CountQuestion, Filter, Relation, Shape, Side, Size};

/// What a question may begin with, and the wording that does.
const OPENINGS: [(&str, u8); 4] =
    [("tell me how many", 4), ("how many", 0), ("count the", 1), ("what is the number of", 2)];

/// What may follow the objects.
const MIDDLES: [&str; 4] = ["are there", "do you see", "are in the picture", "are"];

impl CountQuestion {
    /// What a question asks, where it is one of Task A's: in any of the wordings, without regard to case, blanks and the
    /// final mark, objects in the singular or the plural. `None` where a word is left over: a truth is not guessed.
    pub fn read(text: &str) -> Option<Self> {
        let lower = text.to_lowercase();
        let words: Vec<&str> = lower.trim().trim_end_matches(['?', '.', '!']).split_whitespace().collect();
        let (mut rest, opening) =
            OPENINGS.iter().find_map(|&(opening, n)| Some((after(&words, opening)?, n)))?;
        let filter = filter(&mut rest)?;
        let mut middle = "";
        if let Some((found, left)) = MIDDLES.iter().find_map(|&m| Some((m, after(rest, m)?))) {
            (middle, rest) = (found, left);
        }
        let relation = relation(&mut rest)?;
        rest = after(rest, "in the picture").unwrap_or(rest);
        let whole = rest.is_empty() && (middle != "are" || relation.is_some());
        let wording = if (opening, middle) == (0, "do you see") { 3 } else { opening };
        whole.then_some(Self { filter, relation, wording })
    }
}

/// The words after those of `start`, where they begin with it.
fn after<'a, 'b>(words: &'a [&'b str], start: &str) -> Option<&'a [&'b str]> {
    let mut rest = words;
    for word in start.split(' ') {
        let (first, left) = rest.split_first()?;
        rest = (*first == word).then_some(left)?;
    }
    Some(rest)
}

/// Takes size, colour and noun, the first two if they are there.
fn filter(words: &mut &[&str]) -> Option<Filter> {
    let mut found = Filter::default();
    let one = |value: Option<&&str>, word: &str| value.is_some_and(|value| *value == word);
    if let Some(size) = Size::ALL.iter().find(|size| one(words.first(), size.word())) {
        (found.size, *words) = (Some(*size), &words[1..]);
    }
    if let Some(color) = Color::ALL.iter().find(|color| one(words.first(), color.word())) {
        (found.color, *words) = (Some(*color), &words[1..]);
    }
    let (noun, rest) = words.split_first()?;
    let is = |word: &str| noun.strip_prefix(word).is_some_and(|ending| ["", "s", "es"].contains(&ending));
    found.shape = Shape::ALL.iter().copied().find(|shape| is(shape.word()));
    *words = rest;
    (found.shape.is_some() || is("object")).then_some(found)
}

/// Takes a side of an object, if it is there; fails on half of one.
fn relation(words: &mut &[&str]) -> Option<Option<Relation>> {
    let Some((side, rest)) = Side::ALL.iter().find_map(|side| Some((*side, after(words, side.word())?)))
    else {
        return Some(None);
    };
    *words = after(rest, "the")?;
    filter(words).map(|of| Some(Relation { side, of }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Content, Count, Frame, Object, Scene};

    fn filters() -> Vec<Filter> {
        let or_none = |n: usize| (0..=n).map(move |i| i.checked_sub(1));
        let sizes = || or_none(Size::ALL.len()).map(|i| i.map(|i| Size::ALL[i]));
        let colors = || or_none(Color::ALL.len()).map(|i| i.map(|i| Color::ALL[i]));
        let shapes = || or_none(Shape::ALL.len()).map(|i| i.map(|i| Shape::ALL[i]));
        let all = sizes().flat_map(|size| colors().map(move |color| (size, color)));
        all.flat_map(|(size, color)| shapes().map(move |shape| Filter { color, shape, size })).collect()
    }

    fn asked(question: CountQuestion) -> String {
        let (color, shape, size) = (Color::Red, Shape::Star, Size::Large);
        let object = Object { x: 1, y: 1, color, shape, size, shift: [0, 0] };
        let count =
            Count { frame: Frame::plain(56, 56), columns: 3, rows: 3, objects: vec![object], question };
        Scene::new(Content::Count(count)).expect("one star").question()
    }

    #[test]
    fn every_question_that_scenes_ask_is_read_back() {
        let star = Filter { shape: Some(Shape::Star), ..Filter::default() };
        let relations = Side::ALL.iter().map(|&side| Some(Relation { side, of: star }));
        let relations: Vec<_> = relations.chain([None]).collect();
        for filter in filters() {
            for &relation in &relations {
                for wording in 0..Count::WORDINGS {
                    let question = CountQuestion { filter, relation, wording };
                    let text = asked(question);
                    let read = CountQuestion::read(&text).unwrap_or_else(|| panic!("{text} is read"));
                    // With a side, two wordings differ by nothing but their beginning.
                    assert_eq!(read, question, "{text}");
                    assert_eq!(
                        CountQuestion::read(&format!("  {} ", text.to_uppercase())),
                        Some(read),
                        "{text}"
                    );
                }
            }
        }
    }

    #[test]
    fn what_is_not_wholly_understood_is_not_read() {
        for text in [
            "",
            "?",
            "How many",
            "How many are there?",
            "How many red are there?",
            "How many red blue circles are there?",
            "How many circles and squares are there?",
            "How many circles are not red?",
            "How many circles are?",
            "How many circles are left of?",
            "How many circles are left of the?",
            "How many circles are left of a star?",
            "How many circles are there left of the star and the moon?",
            "Is there a circle?",
            "How many circlesque are there?",
            "circles",
        ] {
            assert_eq!(CountQuestion::read(text), None, "{text}");
        }
        let circle = Filter { shape: Some(Shape::Circle), ..Filter::default() };
        for text in
            ["how many circle are there", "Count the circles!", "How many circles are there in the picture?"]
        {
            assert_eq!(CountQuestion::read(text).map(|q| q.filter), Some(circle), "{text}");
        }
    }
}
