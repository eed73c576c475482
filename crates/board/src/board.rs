//! A scene that a person changes. Whatever is done to it, its shapes stay within the grid, one a cell.

use wethink_scenes::{Color, Content, Count, CountQuestion, Object, Scene, SceneError, Shape, Size};

use super::catalog::Bundled;

/// A cell: column and row, from 1.
pub type Cell = (u8, u8);

/// A scene of task A in the making.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Board {
    count: Count,
}

/// One attribute of an object, to be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Its colour.
    Color(Color),
    /// Its shape.
    Shape(Shape),
    /// Its size.
    Size(Size),
}

impl Board {
    /// From a scene of task A; `None` for any other.
    pub fn new(scene: &Scene) -> Option<Self> {
        match scene.content() {
            Content::Count(count) => Some(Self { count: count.clone() }),
            _ => None,
        }
    }

    /// What is drawn and asked.
    pub fn count(&self) -> &Count {
        &self.count
    }

    /// The scene.
    ///
    /// # Errors
    /// The question names another object's side, and none or several are meant.
    pub fn scene(&self) -> Result<Scene, SceneError> {
        Scene::new(Content::Count(self.count.clone()))
    }

    /// The same shapes under a question that is always sound, for drawing.
    pub fn drawn(&self) -> Result<Scene, SceneError> {
        let question = CountQuestion::default();
        Scene::new(Content::Count(Count { question, ..self.count.clone() }))
    }

    /// The object in a cell.
    pub fn at(&self, cell: Cell) -> Option<&Object> {
        self.count.objects.iter().find(|object| (object.x, object.y) == cell)
    }

    fn at_mut(&mut self, cell: Cell) -> Option<&mut Object> {
        self.count.objects.iter_mut().find(|object| (object.x, object.y) == cell)
    }

    fn inside(&self, (x, y): Cell) -> bool {
        (1..=self.count.columns).contains(&x) && (1..=self.count.rows).contains(&y)
    }

    /// Number of objects.
    pub fn objects(&self) -> u8 {
        // The grid has 81 cells at most, and each holds one.
        self.count.objects.len() as u8
    }

    /// Puts an object into an empty cell; false if there is none of the kind.
    pub fn add(&mut self, (x, y): Cell, color: Color, shape: Shape, size: Size) -> bool {
        let free = self.inside((x, y)) && self.at((x, y)).is_none();
        if free {
            self.count.objects.push(Object { x, y, color, shape, size, shift: [0, 0] });
        }
        free
    }

    /// Takes an object away; false if there is none, or if it is the last.
    pub fn remove(&mut self, cell: Cell) -> bool {
        let found = self.count.objects.iter().position(|object| (object.x, object.y) == cell);
        let index = found.filter(|_| self.count.objects.len() > 1);
        index.map(|index| self.count.objects.remove(index)).is_some()
    }

    /// Moves an object to another cell; what stands there takes its place. False if there is nothing to move, or nowhere.
    pub fn shift(&mut self, from: Cell, to: Cell) -> bool {
        if from == to || !self.inside(to) || self.at(from).is_none() {
            return false;
        }
        for object in &mut self.count.objects {
            let cell = (object.x, object.y);
            if cell == from || cell == to {
                (object.x, object.y) = if cell == from { to } else { from };
            }
        }
        true
    }

    /// Changes an object; false if there is none.
    pub fn change(&mut self, cell: Cell, change: Change) -> bool {
        let Some(object) = self.at_mut(cell) else { return false };
        match change {
            Change::Color(color) => object.color = color,
            Change::Shape(shape) => object.shape = shape,
            Change::Size(size) => {
                object.size = size;
                // A large one has less room within its cell.
                let reach = size.reach() as i8;
                object.shift = object.shift.map(|shift| shift.clamp(-reach, reach));
            }
        }
        true
    }

    /// Asks something else.
    pub fn ask(&mut self, question: CountQuestion) {
        self.count.question = question;
    }

    /// The cell one step from another, or none beyond the edge.
    pub fn step(&self, (x, y): Cell, right: i8, down: i8) -> Option<Cell> {
        let to = (x.checked_add_signed(right)?, y.checked_add_signed(down)?);
        self.inside(to).then_some(to)
    }

    /// In what the scene differs from all that a model was trained on; empty if in nothing.
    pub fn unseen(&self, model: &Bundled) -> Vec<String> {
        let (scenes, question) = (&model.scenes, &self.count.question);
        let mut all = Vec::new();
        let objects = self.objects();
        let within = |[low, high]: [u8; 2]| (low..=high).contains(&objects);
        if !within(scenes.objects) && !model.rare_objects.is_some_and(within) {
            let [low, high] = scenes.objects;
            all.push(format!("{objects} shapes where it saw {low} to {high}"));
        }
        let shapes = &Shape::ALL[usize::from(scenes.shapes)..];
        let colors = &Color::ALL[usize::from(scenes.colors)..];
        let of = question.relation.map(|relation| relation.of);
        let asked = [Some(question.filter), of].into_iter().flatten();
        let named: Vec<_> = asked.collect();
        let objects = &self.count.objects;
        let shape = |shape: &&Shape| {
            objects.iter().any(|o| o.shape == **shape) || named.iter().any(|f| f.shape == Some(**shape))
        };
        let color = |color: &&Color| {
            objects.iter().any(|o| o.color == **color) || named.iter().any(|f| f.color == Some(**color))
        };
        all.extend(shapes.iter().filter(shape).map(|shape| format!("a {}", shape.word())));
        all.extend(colors.iter().filter(color).map(|color| format!("the colour {}", color.word())));
        let held_out = scenes.held_out.iter().filter(|pair| {
            !scenes.show_held_out && objects.iter().any(|o| o.color == pair.color && o.shape == pair.shape)
        });
        all.extend(held_out.map(|pair| format!("a {} {}", pair.color.word(), pair.shape.word())));
        if question.relation.is_some() && scenes.relations == 0 {
            all.push("a question about a side".into());
        }
        match question.filter.named() {
            0 => all.push("a question about all shapes".into()),
            named if scenes.asked.is_some_and(|weights| weights[named - 1] == 0) => {
                all.push(format!(
                    "a question that names {} at once",
                    ["one word", "two words", "three words"][named - 1]
                ));
            }
            _ => {}
        }
        if question.wording >= scenes.wordings {
            all.push("this wording".into());
        }
        all
    }
}

/// An object in words: `small red circle`.
pub fn described(object: &Object) -> String {
    format!("{} {} {}", object.size.word(), object.color.word(), object.shape.word())
}

#[cfg(test)]
mod tests {
    use super::*;
    use wethink_scenes::{Filter, Relation, Settings, Side, Split, Task};

    fn settings() -> Settings {
        Settings {
            tasks: vec![Task::A],
            split: Some(Split::Test),
            sides: [112, 112],
            square: true,
            objects: [3, 6],
            shapes: 4,
            relations: 0,
            ..Settings::default()
        }
    }

    fn model() -> Bundled {
        Bundled {
            name: "a".into(),
            label: "A".into(),
            about: String::new(),
            max_new_tokens: 9,
            scenes: settings(),
            rare_objects: Some([8, 9]),
        }
    }

    fn board(index: u64) -> Board {
        Board::new(&settings().scene(3, index).expect("a scene")).expect("task A")
    }

    #[test]
    fn whatever_is_done_the_scene_is_sound() {
        // A walk through everything a page can call, with cells inside and outside; the moves come from a small generator.
        let mut state = 1u32;
        let mut next = |n: u32| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 16) % n
        };
        let mut board = board(0);
        let mut done = [0; 5];
        for _ in 0..3000 {
            let mut cell = || (next(8) as u8, next(8) as u8);
            let (a, b) = (cell(), cell());
            let color = Color::ALL[next(6) as usize];
            let shape = Shape::ALL[next(6) as usize];
            let size = Size::ALL[next(2) as usize];
            let act = next(5) as usize;
            let acted = match act {
                0 => board.add(a, color, shape, size),
                1 => board.remove(a),
                2 => board.shift(a, b),
                3 => board.change(a, Change::Size(size)),
                _ => board.change(a, Change::Color(color)) && board.change(a, Change::Shape(shape)),
            };
            done[act] += usize::from(acted);
            let scene = board.scene().expect("sound");
            assert_eq!(Board::new(&scene), Some(board.clone()));
            assert!(board.objects() >= 1);
        }
        assert!(done.iter().all(|&done| done > 50), "{done:?}");
    }

    #[test]
    fn moving_onto_another_changes_places() {
        let mut board = board(1);
        let cells: Vec<Cell> = board.count().objects.iter().map(|o| (o.x, o.y)).collect();
        let (a, b) = (board.at(cells[0]).cloned(), board.at(cells[1]).cloned());
        assert!(board.shift(cells[0], cells[1]));
        let looks = |object: Option<&Object>| object.map(described);
        assert_eq!(looks(board.at(cells[1])), looks(a.as_ref()));
        assert_eq!(looks(board.at(cells[0])), looks(b.as_ref()));
        assert!(!board.shift(cells[0], (0, 1)) && !board.shift(cells[0], cells[0]));
        assert_eq!(board.step((1, 1), -1, 0), None);
        assert_eq!(board.step((5, 5), 0, 1), None);
        assert_eq!(board.step((2, 2), 1, -1), Some((3, 1)));
    }

    #[test]
    fn a_question_about_two_of_a_kind_is_refused_but_still_drawn() {
        let mut board = board(2);
        let cell = (board.count().objects[0].x, board.count().objects[0].y);
        let of = Filter { shape: Some(Shape::Cross), ..Filter::default() };
        let relation = Some(Relation { side: Side::Left, of });
        board.ask(CountQuestion { relation, ..CountQuestion::default() });
        assert_eq!(board.scene().expect_err("no cross").field, "question.relation.of");
        assert!(board.drawn().is_ok());
        assert!(board.change(cell, Change::Shape(Shape::Cross)));
        assert!(board.scene().is_ok());
    }

    #[test]
    fn what_a_model_never_saw_is_named() {
        let model = model();
        for index in 0..50 {
            assert_eq!(board(index).unseen(&model), Vec::<String>::new(), "scene {index} is of its own kind");
        }
        let mut board = board(4);
        let cell = (board.count().objects[0].x, board.count().objects[0].y);
        board.change(cell, Change::Shape(Shape::Cross));
        let of = Filter { shape: Some(Shape::Cross), ..Filter::default() };
        let relation = Some(Relation { side: Side::Left, of });
        board.ask(CountQuestion { relation, ..CountQuestion::default() });
        let free = |board: &Board| {
            let cells = (1..=5).flat_map(|y| (1..=5).map(move |x| (x, y)));
            cells.into_iter().find(|&cell| board.at(cell).is_none()).expect("a free cell")
        };
        while board.objects() < 7 {
            board.add(free(&board), Color::Red, Shape::Circle, Size::Small);
        }
        let words = board.unseen(&model).join("; ");
        for word in ["7 shapes where it saw 3 to 6", "a cross", "a side", "all shapes"] {
            assert!(words.contains(word), "{words}");
        }
        board.add(free(&board), Color::Red, Shape::Circle, Size::Small);
        assert!(!board.unseen(&model).join("; ").contains("8 shapes"), "eight were seen, if rarely");

        let one_word =
            Bundled { scenes: Settings { asked: Some([1, 0, 0]), ..model.scenes.clone() }, ..model };
        let red = Filter { color: Some(Color::Red), ..Filter::default() };
        let mut about = |filter| {
            board.ask(CountQuestion { filter, ..CountQuestion::default() });
            board.unseen(&one_word).join("; ").contains("names two words at once")
        };
        assert!(!about(red) && about(Filter { shape: Some(Shape::Star), ..red }));
    }
}
