//! Task C: a maze with several ways, walked from the dot to the star. Any path that leads there is right.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::canvas::{Canvas, Point, mix, polygon};
use crate::count::{Color, Shape, shape};
use crate::draws::Draws;
use crate::{Frame, SceneError, Settings};

/// A step to a neighbouring cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Move {
    /// One row up, `U`.
    Up,
    /// One row down, `D`.
    Down,
    /// One column left, `L`.
    Left,
    /// One column right, `R`.
    Right,
}

impl Move {
    /// In the order in which the shortest path is searched.
    const ALL: [Move; 4] = [Move::Right, Move::Down, Move::Left, Move::Up];

    /// Its letter.
    pub fn letter(self) -> char {
        match self {
            Move::Up => 'U',
            Move::Down => 'D',
            Move::Left => 'L',
            Move::Right => 'R',
        }
    }

    fn from_char(c: char) -> Option<Self> {
        Some(match c {
            'u' | '↑' => Move::Up,
            'd' | '↓' => Move::Down,
            'l' | '←' => Move::Left,
            'r' | '→' => Move::Right,
            _ => return None,
        })
    }
}

/// Task C.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Maze {
    /// Sides, paper, clutter, noise.
    pub frame: Frame,
    /// Columns, 2 to 9.
    pub columns: u8,
    /// Rows, 2 to 9.
    pub rows: u8,
    /// Walls inside, a number for each cell, row by row: 1 stands for a wall at its right, 2 for one below, 3 for both.
    pub walls: Vec<u8>,
    /// Column and row of the dot, from 1.
    pub start: [u8; 2],
    /// Column and row of the star, from 1.
    pub goal: [u8; 2],
    /// Which of the [`Maze::WORDINGS`] wordings, from 0.
    #[serde(default)]
    pub wording: u8,
}

const RIGHT: u8 = 1;
const BELOW: u8 = 2;

impl Maze {
    /// Number of wordings of the question.
    pub const WORDINGS: u8 = 3;
    /// Fewest and most columns and rows.
    pub const CELLS: [u8; 2] = [2, 9];

    fn index(&self, [x, y]: [u8; 2]) -> usize {
        usize::from(y - 1) * usize::from(self.columns) + usize::from(x - 1)
    }

    /// The neighbour, if there is one and no wall between.
    pub fn step(&self, [x, y]: [u8; 2], step: Move) -> Option<[u8; 2]> {
        let open = |cell: [u8; 2], wall: u8| self.walls[self.index(cell)] & wall == 0;
        match step {
            Move::Right => (x < self.columns && open([x, y], RIGHT)).then_some([x + 1, y]),
            Move::Down => (y < self.rows && open([x, y], BELOW)).then_some([x, y + 1]),
            Move::Left => (x > 1 && open([x - 1, y], RIGHT)).then(|| [x - 1, y]),
            Move::Up => (y > 1 && open([x, y - 1], BELOW)).then(|| [x, y - 1]),
        }
    }

    /// A shortest path, the first by breadth in the order right, down, left, up; none where there is no path.
    pub(crate) fn shortest(&self) -> Option<Vec<Move>> {
        let mut came: Vec<Option<([u8; 2], Move)>> = vec![None; self.walls.len()];
        let mut queue = VecDeque::from([self.start]);
        while let Some(cell) = queue.pop_front() {
            if cell == self.goal {
                break;
            }
            for step in Move::ALL {
                if let Some(next) = self.step(cell, step)
                    && next != self.start
                    && came[self.index(next)].is_none()
                {
                    came[self.index(next)] = Some((cell, step));
                    queue.push_back(next);
                }
            }
        }
        let (mut path, mut cell) = (Vec::new(), self.goal);
        while cell != self.start {
            let (before, step) = came[self.index(cell)]?;
            path.push(step);
            cell = before;
        }
        path.reverse();
        Some(path)
    }

    pub(crate) fn check(&self) -> Result<(), SceneError> {
        let [low, high] = Self::CELLS;
        for (field, cells) in [("columns", self.columns), ("rows", self.rows)] {
            SceneError::unless((low..=high).contains(&cells), field, || format!("{cells}; {low} to {high}"))?;
        }
        let cells = usize::from(self.columns) * usize::from(self.rows);
        SceneError::unless(
            self.walls.len() == cells && self.walls.iter().all(|&w| w <= RIGHT | BELOW),
            "walls",
            || format!("{} numbers; {cells} of 0 to 3", self.walls.len()),
        )?;
        for (field, [x, y]) in [("start", self.start), ("goal", self.goal)] {
            let inside = (1..=self.columns).contains(&x) && (1..=self.rows).contains(&y);
            SceneError::unless(inside, field, || {
                format!("({x},{y}) is outside the {} by {} maze", self.columns, self.rows)
            })?;
        }
        SceneError::unless(self.start != self.goal, "goal", || "is the start".into())?;
        SceneError::unless(self.shortest().is_some(), "walls", || "no path leads from start to goal".into())?;
        SceneError::unless(self.wording < Self::WORDINGS, "wording", || {
            format!("{}; 0 to {}", self.wording, Self::WORDINGS - 1)
        })
    }

    /// A spanning tree by depth first, then one wall in eight cells taken away, so that there are several ways.
    pub(crate) fn make(settings: &Settings, frame: Frame, draws: &mut Draws) -> Option<Self> {
        let [low, high] = settings.maze;
        let (columns, rows) = (draws.between(low, high), draws.between(low, high));
        let wording = draws.between(0, settings.wordings.min(Self::WORDINGS) - 1);
        let cells = usize::from(columns) * usize::from(rows);
        let mut place = || [draws.between(1, columns), draws.between(1, rows)];
        let (start, goal) = (place(), place());
        let walls = vec![RIGHT | BELOW; cells];
        let mut maze = Self { frame, columns, rows, walls, start, goal, wording };
        let (mut seen, mut trail) = (vec![false; cells], vec![start]);
        seen[maze.index(start)] = true;
        while let Some(&cell) = trail.last() {
            let fresh: Vec<_> = Move::ALL
                .into_iter()
                .filter_map(|step| maze.beside(cell, step))
                .filter(|&(next, ..)| !seen[maze.index(next)])
                .collect();
            if fresh.is_empty() {
                trail.pop();
                continue;
            }
            let &(next, holder, wall) = draws.pick(&fresh);
            maze.walls[holder] &= !wall;
            seen[maze.index(next)] = true;
            trail.push(next);
        }
        for _ in 0..cells / 8 {
            let cell = [draws.between(1, columns), draws.between(1, rows)];
            if let Some((_, holder, wall)) = maze.beside(cell, *draws.pick(&Move::ALL)) {
                maze.walls[holder] &= !wall;
            }
        }
        let long = usize::from(columns + rows) / 2;
        maze.shortest().is_some_and(|path| path.len() >= long).then_some(maze)
    }

    /// The neighbour, wall or not, with the cell that holds the wall between, and the wall.
    fn beside(&self, [x, y]: [u8; 2], step: Move) -> Option<([u8; 2], usize, u8)> {
        let next = match step {
            Move::Right => [x + 1, y],
            Move::Down => [x, y + 1],
            Move::Left => [x - 1, y],
            Move::Up => [x, y - 1],
        };
        let inside = (1..=self.columns).contains(&next[0]) && (1..=self.rows).contains(&next[1]);
        let holder = [x.min(next[0]), y.min(next[1])];
        let wall = if next[1] == y { RIGHT } else { BELOW };
        inside.then(|| (next, self.index(holder), wall))
    }

    pub(crate) fn draw(&self, canvas: &mut Canvas) {
        let (width, height) = self.frame.size();
        let margin = 0.04 * self.frame.short();
        let (columns, rows) = (f32::from(self.columns), f32::from(self.rows));
        let (w, h) = ((width - 2.0 * margin) / columns, (height - 2.0 * margin) / rows);
        let at = |x: f32, y: f32| -> Point { (margin + x * w, margin + y * h) };
        let (thick, ink) = (0.09 * w.min(h), [30, 32, 44]);
        let radius = 0.28 * w.min(h);
        let middle = |[x, y]: [u8; 2]| at(f32::from(x) - 0.5, f32::from(y) - 0.5);
        // Posts at the corners of cells, or wide rooms could not be measured by eye.
        for i in 0..(self.columns - 1) * (self.rows - 1) {
            let (x, y) = (1 + i % (self.columns - 1), 1 + i / (self.columns - 1));
            canvas.disc(at(x.into(), y.into()), 0.9 * thick, mix(ink, [255, 255, 255], 120));
        }
        canvas.disc(middle(self.start), radius, Color::Green.rgb());
        shape(canvas, Shape::Star, middle(self.goal), 1.2 * radius, Color::Red.rgb());
        for (i, walls) in self.walls.iter().enumerate() {
            let (x, y) = ((i % usize::from(self.columns)) as f32, (i / usize::from(self.columns)) as f32);
            if walls & RIGHT != 0 && x + 1.0 < columns {
                canvas.line(at(x + 1.0, y), at(x + 1.0, y + 1.0), thick, ink);
            }
            if walls & BELOW != 0 && y + 1.0 < rows {
                canvas.line(at(x, y + 1.0), at(x + 1.0, y + 1.0), thick, ink);
            }
        }
        let corners = [at(0.0, 0.0), at(columns, 0.0), at(columns, rows), at(0.0, rows)];
        canvas.stroke(&polygon(&corners), thick, ink);
    }

    pub(crate) fn question(&self) -> String {
        match self.wording {
            0 => "Find a path from the green dot to the red star. Answer with the moves U, D, L, R.",
            1 => "Which moves (U, D, L, R) lead from the green dot to the red star?",
            _ => "Walk from the green dot to the red star. Give the moves as letters U, D, L, R.",
        }
        .into()
    }

    pub(crate) fn answer(&self) -> String {
        let path = self.shortest().unwrap_or_default();
        path.iter().map(|step| step.letter().to_string()).collect::<Vec<_>>().join(" ")
    }

    /// Cell by cell: `(1,1) R (2,1) D (2,2)`.
    pub(crate) fn thought(&self) -> String {
        let [x, y] = self.start;
        let (mut text, mut cell) = (format!("({x},{y})"), self.start);
        for step in self.shortest().unwrap_or_default() {
            cell = self.step(cell, step).unwrap_or(cell);
            text += &format!(" {} ({},{})", step.letter(), cell[0], cell[1]);
        }
        text
    }

    /// Walks the moves: through no wall, to end on the star, in at most four moves a cell. Moves are letters, words or arrows
    /// with anything but letters between; a word that is no move makes the answer wrong.
    pub(crate) fn verify(&self, answer: &str) -> bool {
        let Some(moves) = moves(&answer.to_lowercase()) else { return false };
        let walk = |cell: Option<[u8; 2]>, &step: &Move| cell.and_then(|cell| self.step(cell, step));
        !moves.is_empty()
            && moves.len() <= 4 * self.walls.len()
            && moves.iter().fold(Some(self.start), walk) == Some(self.goal)
    }

    pub(crate) fn shown(&self) -> String {
        format!("{}x{} {:?} {:?} {:?}", self.columns, self.rows, self.walls, self.start, self.goal)
    }
}

fn moves(answer: &str) -> Option<Vec<Move>> {
    let arrow = |c: char| matches!(c, '↑' | '↓' | '←' | '→');
    let mut moves = Vec::new();
    for word in answer.split(|c: char| !c.is_alphabetic() && !arrow(c)).filter(|word| !word.is_empty()) {
        match word {
            "up" => moves.push(Move::Up),
            "down" => moves.push(Move::Down),
            "left" => moves.push(Move::Left),
            "right" => moves.push(Move::Right),
            letters => {
                for c in letters.chars() {
                    moves.push(Move::from_char(c)?);
                }
            }
        }
    }
    Some(moves)
}
