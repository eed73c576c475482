//! A thought as it streams, line by line, held against the scene it is about.
//!
//! A thought of task A names an object a line: `(2,3) red circle: red ✓`, with what the question asks about after the colon,
//! and ✓ where it counts the object, ✗ where not; `from (2,3) red circle: circle` names the object that the question starts
//! from; `count 2` ends it. What is written otherwise is kept as it is and judged as nothing.

use std::collections::BTreeMap;

use wethink_scenes::{Color, Count, Object, Shape, Size};

use super::board::{Cell, described};

/// A thought, or its beginning.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trace {
    /// Its lines that are not blank.
    pub lines: Vec<Line>,
}

/// A line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// As written.
    pub text: String,
    /// What it says of a cell, if it does.
    pub claim: Option<Claim>,
}

/// What a line says of a cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The cell.
    pub cell: Cell,
    /// It names the object that the question starts from, and has no mark.
    pub from: bool,
    /// The attributes named so far, each as it is named first.
    pub size: Option<Size>,
    /// As above.
    pub color: Option<Color>,
    /// As above.
    pub shape: Option<Shape>,
    /// One of them is named again as something else.
    pub clash: bool,
    /// Whether the object counts.
    pub mark: Option<bool>,
    /// Nothing more of the line can come.
    pub whole: bool,
}

/// What a cell of the picture shows of a thought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Light {
    /// How it stands with the claim.
    pub state: State,
    /// Whether the thought counts the object.
    pub mark: Option<bool>,
    /// What is wrong, in words; else empty.
    pub why: String,
}

/// How it stands with what a thought says of a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Still being written, or nobody knows the truth.
    Open,
    /// Right in place, colour, shape and mark.
    Right,
    /// Wrong in one of them.
    Wrong,
    /// An object that the whole thought does not name.
    Missed,
}

impl State {
    /// Its name in the page's style.
    pub fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Right => "right",
            Self::Wrong => "wrong",
            Self::Missed => "missed",
        }
    }
}

/// What the scene says of a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// Nothing is wrong so far.
    Coming,
    /// Object and mark are right.
    Right,
    /// What is wrong, in words.
    Wrong(String),
}

impl Trace {
    /// Reads a thought; `over` tells that nothing more will come.
    pub fn read(text: &str, over: bool) -> Self {
        let mut parts: Vec<&str> = text.split('\n').collect();
        // What follows the last line break is still being written.
        let open = if over { None } else { parts.pop() };
        let line =
            |text: &str, whole: bool| Line { text: text.trim().into(), claim: claim(text.trim(), whole) };
        let lines = parts.into_iter().map(|part| line(part, true)).chain(open.map(|part| line(part, false)));
        Self { lines: lines.filter(|line| !line.text.is_empty()).collect() }
    }

    /// What the scene says of each line; `None` for lines that name no cell.
    pub fn judge(&self, scene: &Count) -> Vec<Option<Finding>> {
        let mut named: Vec<Cell> = Vec::new();
        let mut one = |claim: &Claim| {
            let again = !claim.from && named.contains(&claim.cell);
            if !claim.from {
                named.push(claim.cell);
            }
            if again { Finding::Wrong("named already".into()) } else { finding(claim, scene) }
        };
        self.lines.iter().map(|line| line.claim.as_ref().map(&mut one)).collect()
    }

    /// What each cell shows. Without a scene nothing is judged. `over` tells that the thought has ended: what it left out
    /// is shown then. A mistake is not covered by a later line that is right.
    pub fn lights(&self, scene: Option<&Count>, over: bool) -> BTreeMap<Cell, Light> {
        let findings = scene.map_or_else(|| vec![None; self.lines.len()], |scene| self.judge(scene));
        let mut lights: BTreeMap<Cell, Light> = BTreeMap::new();
        for (line, finding) in self.lines.iter().zip(findings) {
            let Some(claim) = &line.claim else { continue };
            let (state, why) = match finding {
                None | Some(Finding::Coming) => (State::Open, String::new()),
                Some(Finding::Right) => (State::Right, String::new()),
                Some(Finding::Wrong(why)) => (State::Wrong, why),
            };
            let before = lights.get(&claim.cell);
            if before.is_none_or(|before| before.state != State::Wrong) {
                let mark = claim.mark.or_else(|| before.and_then(|before| before.mark));
                lights.insert(claim.cell, Light { state, mark, why });
            }
        }
        let missed = scene.filter(|_| over).map(|scene| self.missed(scene)).unwrap_or_default();
        for object in missed {
            let light = Light { state: State::Missed, mark: None, why: "never named".into() };
            lights.entry((object.x, object.y)).or_insert(light);
        }
        lights
    }

    /// Number of lines that are right in place, colour, shape and mark.
    pub fn right(&self, scene: &Count) -> usize {
        let named = self.lines.iter().zip(self.judge(scene));
        let right = named.filter(|(line, finding)| {
            *finding == Some(Finding::Right) && line.claim.as_ref().is_some_and(|claim| !claim.from)
        });
        right.count()
    }

    /// Objects of the scene that no line names.
    pub fn missed<'a>(&self, scene: &'a Count) -> Vec<&'a Object> {
        let named = |object: &&Object| {
            let mut claims = self.lines.iter().filter_map(|line| line.claim.as_ref());
            claims.any(|claim| !claim.from && claim.cell == (object.x, object.y))
        };
        scene.objects.iter().filter(|object| !named(object)).collect()
    }
}

fn claim(line: &str, whole: bool) -> Option<Claim> {
    let stripped = line.strip_prefix("from ");
    let (place, rest) = stripped.unwrap_or(line).strip_prefix('(')?.split_once(')')?;
    let (x, y) = place.split_once(',')?;
    let number = |text: &str| text.trim().parse::<u8>().ok();
    let mut claim = Claim {
        cell: (number(x)?, number(y)?),
        from: stripped.is_some(),
        size: None,
        color: None,
        shape: None,
        clash: false,
        mark: None,
        whole,
    };
    for word in rest.split(|c: char| c.is_whitespace() || c == ':') {
        claim.clash |= name(&mut claim.size, Size::ALL.iter().copied().find(|size| size.word() == word));
        claim.clash |= name(&mut claim.color, Color::ALL.iter().copied().find(|color| color.word() == word));
        claim.clash |= name(&mut claim.shape, Shape::ALL.iter().copied().find(|shape| shape.word() == word));
        claim.mark = match word {
            "✓" => Some(true),
            "✗" => Some(false),
            _ => claim.mark,
        };
    }
    // A mark ends a line, whatever else is written after it.
    claim.whole |= claim.mark.is_some();
    Some(claim)
}

/// Enters an attribute; whether it was named before as something else.
fn name<T: PartialEq>(attribute: &mut Option<T>, word: Option<T>) -> bool {
    match (&attribute, &word) {
        (Some(before), Some(now)) => before != now,
        (None, Some(_)) => {
            *attribute = word;
            false
        }
        _ => false,
    }
}

fn finding(claim: &Claim, scene: &Count) -> Finding {
    let wrong = |text: &str| Finding::Wrong(text.to_owned());
    let (x, y) = claim.cell;
    if !(1..=scene.columns).contains(&x) || !(1..=scene.rows).contains(&y) {
        return wrong("outside the picture");
    }
    let Some(object) = scene.objects.iter().find(|object| (object.x, object.y) == claim.cell) else {
        return wrong("nothing is there");
    };
    let differs = claim.size.is_some_and(|size| size != object.size)
        || claim.color.is_some_and(|color| color != object.color)
        || claim.shape.is_some_and(|shape| shape != object.shape);
    if differs {
        return Finding::Wrong(format!("it is a {}", described(object)));
    }
    if claim.clash {
        return wrong("says two things of it");
    }
    if !claim.whole {
        return Finding::Coming;
    }
    if claim.color.is_none() || claim.shape.is_none() {
        return wrong("does not say what is there");
    }
    if claim.from {
        let starts = scene.question.relation.is_some_and(|relation| relation.of.matches(object));
        return if starts { Finding::Right } else { wrong("the question does not start there") };
    }
    match (claim.mark, scene.counts(object)) {
        (None, _) => wrong("does not say whether it counts"),
        (Some(mark), counts) if mark == counts => Finding::Right,
        (_, true) => wrong("it counts"),
        (_, false) => wrong("it does not count"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wethink_scenes::{Content, Settings, Task};

    fn scene(index: u64) -> (Count, String) {
        let settings = Settings { tasks: vec![Task::A], relations: 60, ..Settings::default() };
        let scene = settings.scene(5, index).expect("a scene");
        let thought = scene.thought();
        match Content::from(scene) {
            Content::Count(count) => (count, thought),
            _ => panic!("task A"),
        }
    }

    #[test]
    fn the_scenes_own_thought_is_right_throughout_however_far_it_is() {
        for index in 0..100 {
            let (count, thought) = scene(index);
            let ends = thought.char_indices().map(|(at, _)| at).chain([thought.len()]);
            for at in ends {
                let trace = Trace::read(&thought[..at], false);
                for (line, finding) in trace.lines.iter().zip(trace.judge(&count)) {
                    assert!(!matches!(finding, Some(Finding::Wrong(_))), "{index}: {line:?} of {thought}");
                }
            }
            let trace = Trace::read(&thought, true);
            let right = trace.judge(&count).iter().filter(|f| **f == Some(Finding::Right)).count();
            let from = usize::from(count.question.relation.is_some());
            assert_eq!(right, count.objects.len() + from, "{thought}");
            assert!(trace.missed(&count).is_empty());
            assert_eq!(trace.right(&count), count.objects.len());
            assert!(trace.lights(Some(&count), true).values().all(|light| light.state == State::Right));
        }
    }

    #[test]
    fn a_cell_lights_up_before_its_line_is_whole() {
        let text = "(1,2) red circle ✓\n(3,";
        let trace = Trace::read(text, false);
        assert_eq!((trace.lines.len(), &trace.lines[1].claim), (2, &None));
        let trace = Trace::read(&format!("{text}4)"), false);
        let claim = trace.lines[1].claim.as_ref().expect("a cell");
        assert_eq!((claim.cell, claim.mark, claim.whole), ((3, 4), None, false));
    }

    #[test]
    fn each_mistake_is_told_from_the_others() {
        let (mut count, _) = scene(0);
        count.question = Default::default();
        let object = count.objects[0].clone();
        let Object { x, y, color, shape, size, .. } = object;
        let other = Color::ALL.iter().find(|c| **c != color).expect("another").word();
        let (color, shape, size) = (color.word(), shape.word(), size.word());
        let cells = (1..=count.rows).flat_map(|y| (1..=count.columns).map(move |x| (x, y)));
        let (ex, ey) = cells
            .into_iter()
            .find(|cell| count.objects.iter().all(|o| (o.x, o.y) != *cell))
            .expect("an empty cell");
        let of = |text: &str| Trace::read(text, true).judge(&count).pop().flatten();
        let wrong = |text: &str| match of(text) {
            Some(Finding::Wrong(why)) => why,
            other => panic!("{text}: {other:?}"),
        };
        assert_eq!(of(&format!("({x},{y}) {color} {shape} ✓")), Some(Finding::Right));
        assert_eq!(of(&format!("({x}, {y}) {color} {shape}: {size} {color} ✓")), Some(Finding::Right));
        assert_eq!(wrong(&format!("({x},{y}) {color} {shape}: {other} ✓")), "says two things of it");
        assert_eq!(wrong(&format!("({x},{y}) {color} {shape} ✗")), "it counts");
        assert!(wrong(&format!("({x},{y}) {other} {shape} ✓")).starts_with("it is a"));
        assert_eq!(wrong(&format!("({ex},{ey}) {color} {shape} ✓")), "nothing is there");
        assert_eq!(wrong(&format!("(99,1) {color} {shape} ✓")), "outside the picture");
        assert_eq!(wrong(&format!("({x},{y}) {color} {shape}")), "does not say whether it counts");
        assert_eq!(wrong(&format!("({x},{y}) ✓")), "does not say what is there");
        assert_eq!(wrong(&format!("from ({x},{y}) {color} {shape}")), "the question does not start there");
        let twice = format!("({x},{y}) {color} {shape} ✓\n({x},{y}) {color} {shape} ✓");
        assert_eq!(wrong(&twice), "named already");
        assert_eq!(Trace::read("", true).missed(&count).len(), count.objects.len());
        let lights = Trace::read(&twice, true).lights(Some(&count), true);
        assert_eq!(lights[&(x, y)].state, State::Wrong, "a mistake stays in sight");
        assert_eq!(
            lights.values().filter(|light| light.state == State::Missed).count(),
            count.objects.len() - 1
        );
        let text = format!("from ({x},{y}) {color} {shape}\n({x},{y}) {color} {shape} ✗");
        let lights = Trace::read(&text, true).lights(None, true);
        assert_eq!(lights.len(), 1);
        assert_eq!((lights[&(x, y)].state, lights[&(x, y)].mark), (State::Open, Some(false)));
        for text in ["count 3", "(a,b) red", "(300,1) red circle ✓", "()", "no", "(1 2)"] {
            assert_eq!(of(text), None, "{text} names no cell");
        }
    }
}
