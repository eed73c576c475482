//! Task A: shapes on a coarse grid, counted under a filter.
//!
//! Every object stands in a cell of its own; columns and rows count from 1 at the top left, at most nine of each, so that a
//! coordinate is one digit. "Left of" compares columns and "above" compares rows, both strictly.

use serde::{Deserialize, Serialize};

use crate::canvas::{Canvas, Point, Rgb, circle, mix, polygon};
use crate::scene::is_number;
use crate::{Frame, SceneError};

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($variant:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        #[allow(missing_docs)]
        pub enum $name { $($variant,)* }

        impl $name {
            /// Every value, in the order in which settings take the first few.
            pub const ALL: &'static [$name] = &[$($name::$variant,)*];

            /// The word used in questions and thoughts.
            pub fn word(self) -> &'static str {
                match self { $($name::$variant => $word,)* }
            }
        }
    };
}

words! {
    /// Colours of objects and bars.
    Color { Red = "red", Blue = "blue", Green = "green", Yellow = "yellow", Purple = "purple", Orange = "orange", }
}
words! {
    /// Shapes of objects.
    Shape {
        Circle = "circle", Square = "square", Triangle = "triangle", Star = "star", Cross = "cross", Diamond = "diamond",
    }
}
words! {
    /// Sizes of objects: a radius of 0.24 or 0.38 of a cell.
    Size { Small = "small", Large = "large", }
}
words! {
    /// Where an object stands, seen from another.
    Side { Left = "left of", Right = "right of", Above = "above", Below = "below", }
}

impl Color {
    /// Its red, green and blue.
    pub fn rgb(self) -> [u8; 3] {
        match self {
            Color::Red => [214, 32, 40],
            Color::Blue => [30, 90, 205],
            Color::Green => [40, 150, 60],
            Color::Yellow => [246, 208, 20],
            Color::Purple => [140, 60, 185],
            Color::Orange => [255, 128, 10],
        }
    }
}

impl Size {
    fn radius(self) -> f32 {
        match self {
            Size::Small => 0.24,
            Size::Large => 0.38,
        }
    }

    /// The largest shift in hundredths of a cell: with it, every shape stays within its cell.
    pub fn reach(self) -> u8 {
        match self {
            Size::Small => 16,
            Size::Large => 6,
        }
    }
}

/// One shape.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Object {
    /// Column, from 1 at the left.
    pub x: u8,
    /// Row, from 1 at the top.
    pub y: u8,
    /// Its colour.
    pub color: Color,
    /// Its shape.
    pub shape: Shape,
    /// Its size.
    pub size: Size,
    /// How far it stands from its cell's middle, right and down, in hundredths of a cell: at most 6 if large, 16 if small.
    #[serde(default)]
    pub shift: [i8; 2],
}

/// Which objects are meant: those that have every attribute named.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Filter {
    /// Only this colour.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub color: Option<Color>,
    /// Only this shape.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shape: Option<Shape>,
    /// Only this size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<Size>,
}

/// On which side of which object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Relation {
    /// The side.
    pub side: Side,
    /// The other object; exactly one must match.
    pub of: Filter,
}

/// How many objects match.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CountQuestion {
    /// Which objects are counted.
    #[serde(default)]
    pub filter: Filter,
    /// Only those on this side of another object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relation: Option<Relation>,
    /// Which of the [`Count::WORDINGS`] wordings, from 0.
    #[serde(default)]
    pub wording: u8,
}

/// Task A.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Count {
    /// Sides, paper, clutter, noise.
    pub frame: Frame,
    /// Columns of the grid, 2 to 9.
    pub columns: u8,
    /// Rows of the grid, 2 to 9.
    pub rows: u8,
    /// The objects, at least one, each in a cell of its own.
    pub objects: Vec<Object>,
    /// What is asked.
    pub question: CountQuestion,
}

impl Filter {
    /// Whether an object has every attribute named.
    pub fn matches(&self, object: &Object) -> bool {
        self.color.is_none_or(|color| color == object.color)
            && self.shape.is_none_or(|shape| shape == object.shape)
            && self.size.is_none_or(|size| size == object.size)
    }

    /// How many attributes are named.
    pub fn named(&self) -> usize {
        [self.color.is_some(), self.shape.is_some(), self.size.is_some()]
            .into_iter()
            .filter(|&named| named)
            .count()
    }

    fn phrase(&self, plural: bool) -> String {
        let adjectives = [self.size.map(Size::word), self.color.map(Color::word)];
        let noun = self.shape.map_or("object", Shape::word);
        let ending = match (plural, noun) {
            (false, _) => "",
            (true, "cross") => "es",
            (true, _) => "s",
        };
        let words: Vec<&str> = adjectives.into_iter().flatten().chain([noun]).collect();
        words.join(" ") + ending
    }
}

impl Relation {
    fn holds(&self, object: &Object, of: &Object) -> bool {
        match self.side {
            Side::Left => object.x < of.x,
            Side::Right => object.x > of.x,
            Side::Above => object.y < of.y,
            Side::Below => object.y > of.y,
        }
    }

    /// Whether neither side is right: both in one column, or in one row.
    pub(crate) fn level(&self, object: &Object, of: &Object) -> bool {
        match self.side {
            Side::Left | Side::Right => object.x == of.x,
            Side::Above | Side::Below => object.y == of.y,
        }
    }
}

impl Count {
    /// Number of wordings of the question.
    pub const WORDINGS: u8 = 5;

    /// The grid of a picture: cells of about `cell` pixels, 3 to 9 columns and rows.
    pub fn grid(width: u16, height: u16, cell: u8) -> (u8, u8) {
        let cell = u32::from(cell.max(1));
        let cells = |side: u16| ((u32::from(side) + cell / 2) / cell).clamp(3, 9) as u8;
        (cells(width), cells(height))
    }

    /// The middle of a cell in pixels; columns and rows from 1.
    pub fn cell_center(&self, x: u8, y: u8) -> (f32, f32) {
        let (width, height) = self.cell();
        ((f32::from(x) - 0.5) * width, (f32::from(y) - 0.5) * height)
    }

    fn cell(&self) -> (f32, f32) {
        let (width, height) = self.frame.size();
        (width / f32::from(self.columns), height / f32::from(self.rows))
    }

    pub(crate) fn check(&self) -> Result<(), SceneError> {
        for (field, cells) in [("columns", self.columns), ("rows", self.rows)] {
            SceneError::unless((2..=9).contains(&cells), field, || format!("{cells}; 2 to 9"))?;
        }
        SceneError::unless(!self.objects.is_empty(), "objects", || "empty; one at least".into())?;
        let mut taken = std::collections::BTreeSet::new();
        for Object { x, y, size, shift, .. } in &self.objects {
            let inside = (1..=self.columns).contains(x) && (1..=self.rows).contains(y);
            SceneError::unless(inside, "objects", || {
                format!("({x},{y}) is outside the {} by {} grid", self.columns, self.rows)
            })?;
            SceneError::unless(taken.insert((x, y)), "objects", || format!("two objects at ({x},{y})"))?;
            let reach = size.reach();
            SceneError::unless(shift.iter().all(|s| s.unsigned_abs() <= reach), "objects", || {
                format!("shift {shift:?} at ({x},{y}); at most {reach} for a {} object", size.word())
            })?;
        }
        if let Some(relation) = &self.question.relation {
            let found = self.objects.iter().filter(|object| relation.of.matches(object)).count();
            SceneError::unless(found == 1, "question.relation.of", || {
                format!("{found} objects are a {}; exactly one must be", relation.of.phrase(false))
            })?;
        }
        let wording = self.question.wording;
        SceneError::unless(wording < Self::WORDINGS, "question.wording", || {
            format!("{wording}; 0 to {}", Self::WORDINGS - 1)
        })
    }

    /// The object that the question refers to.
    pub(crate) fn referent(&self, relation: &Relation) -> Option<&Object> {
        self.objects.iter().find(|object| relation.of.matches(object))
    }

    /// Whether the question counts this object.
    pub fn counts(&self, object: &Object) -> bool {
        let side = |relation: &Relation| self.referent(relation).is_some_and(|of| relation.holds(object, of));
        self.question.filter.matches(object) && self.question.relation.as_ref().is_none_or(side)
    }

    fn total(&self) -> u32 {
        self.objects.iter().filter(|object| self.counts(object)).count() as u32
    }

    pub(crate) fn draw(&self, canvas: &mut Canvas) {
        let (width, height) = self.cell();
        for object in &self.objects {
            let (x, y) = self.cell_center(object.x, object.y);
            let [right, down] = object.shift.map(|s| f32::from(s) / 100.0);
            let radius = width.min(height) * object.size.radius();
            shape(canvas, object.shape, (x + right * width, y + down * height), radius, object.color.rgb());
        }
    }

    /// The question, in English.
    pub fn question(&self) -> String {
        let what = self.question.filter.phrase(true);
        let side = self.question.relation.map(|r| format!(" {} the {}", r.side.word(), r.of.phrase(false)));
        let or = |plain: &str| side.clone().unwrap_or_else(|| plain.to_owned());
        match self.question.wording {
            0 => format!("How many {what} are{}?", or(" there")),
            1 => format!("Count the {what}{}.", or("")),
            2 => format!("What is the number of {what}{}?", or("")),
            3 => format!("How many {what} do you see{}?", or("")),
            _ => format!("Tell me how many {what} are{}.", or(" in the picture")),
        }
    }

    /// Objects in reading order: the cell, what is in it, and after a colon the object's own words for what the question asks
    /// about, then its mark. So what is seen is told alike whatever is asked, and the mark follows from the words right
    /// before it. Sizes are named only where the question asks about them: what does not bear on the answer costs tokens.
    pub(crate) fn thought(&self) -> String {
        self.told(&|o, Filter { color, shape, size }| {
            let words =
                [size.map(|_| o.size.word()), color.map(|_| o.color.word()), shape.map(|_| o.shape.word())];
            let asked: String = words.into_iter().flatten().flat_map(|word| [" ", word]).collect();
            format!("{} {}:{asked}", o.color.word(), o.shape.word())
        })
    }

    /// The same without the words after the colon: sizes, where they are asked about, stand before what is seen.
    pub(crate) fn terse_thought(&self) -> String {
        let filters = [Some(self.question.filter), self.question.relation.map(|relation| relation.of)];
        let sizes = filters.into_iter().flatten().any(|filter| filter.size.is_some());
        self.told(&|o, _| {
            let size = if sizes { format!("{} ", o.size.word()) } else { String::new() };
            format!("{size}{} {}", o.color.word(), o.shape.word())
        })
    }

    /// The lines of a thought; `words` are an object's, with the filter that it is held against.
    fn told(&self, words: &dyn Fn(&Object, &Filter) -> String) -> String {
        let named = |o: &Object, asked: &Filter| format!("({},{}) {}", o.x, o.y, words(o, asked));
        let mark = |o: &Object| if self.counts(o) { '✓' } else { '✗' };
        let mut objects: Vec<&Object> = self.objects.iter().collect();
        objects.sort_by_key(|object| (object.y, object.x));
        let start = self.question.relation.as_ref().and_then(|relation| {
            let from = self.referent(relation)?;
            Some(format!("from {}", named(from, &relation.of)))
        });
        let lines = objects.into_iter().map(|o| format!("{} {}", named(o, &self.question.filter), mark(o)));
        let count = format!("count {}", self.total());
        start.into_iter().chain(lines).chain([count]).collect::<Vec<_>>().join("\n")
    }

    pub(crate) fn answer(&self) -> String {
        self.total().to_string()
    }

    pub(crate) fn verify(&self, answer: &str) -> bool {
        is_number(answer, self.total())
    }

    pub(crate) fn shown(&self) -> String {
        let mut objects: Vec<_> = self.objects.iter().map(|o| (o.y, o.x, o.color, o.shape, o.size)).collect();
        objects.sort();
        format!("{}x{} {objects:?}", self.columns, self.rows)
    }
}

/// Draws a shape about `centre`, within about `radius`, with a darker rim.
pub(crate) fn shape(canvas: &mut Canvas, shape: Shape, centre: Point, radius: f32, colour: Rgb) {
    let at = |&(x, y): &Point| (centre.0 + x * radius, centre.1 + y * radius);
    let path = match outline(shape) {
        None => circle(centre, radius),
        Some(corners) => polygon(&corners.iter().map(at).collect::<Vec<_>>()),
    };
    canvas.fill(&path, colour);
    canvas.stroke(&path, 0.12 * radius, mix(colour, [0, 0, 0], 96));
}

/// Corners about the origin for a radius of 1; none for the circle.
fn outline(shape: Shape) -> Option<&'static [Point]> {
    Some(match shape {
        Shape::Circle => return None,
        Shape::Square => &[(-0.84, -0.84), (0.84, -0.84), (0.84, 0.84), (-0.84, 0.84)],
        Shape::Triangle => &[(0.0, -1.0), (1.02, 0.84), (-1.02, 0.84)],
        Shape::Diamond => &[(0.0, -1.06), (0.78, 0.0), (0.0, 1.06), (-0.78, 0.0)],
        Shape::Cross => &[
            (-0.34, -1.0),
            (0.34, -1.0),
            (0.34, -0.34),
            (1.0, -0.34),
            (1.0, 0.34),
            (0.34, 0.34),
            (0.34, 1.0),
            (-0.34, 1.0),
            (-0.34, 0.34),
            (-1.0, 0.34),
            (-1.0, -0.34),
            (-0.34, -0.34),
        ],
        // Radii 1.06 and 0.44, every 36 degrees from the top.
        Shape::Star => &[
            (0.0000, -1.0600),
            (0.2586, -0.3560),
            (1.0081, -0.3276),
            (0.4185, 0.1360),
            (0.6231, 0.8576),
            (0.0000, 0.4400),
            (-0.6231, 0.8576),
            (-0.4185, 0.1360),
            (-1.0081, -0.3276),
            (-0.2586, -0.3560),
        ],
    })
}
