//! What a reader of the picture alone finds: objects by their colour and outline, walls by their darkness.

use super::{of_task, scenes, shown};
use crate::{Color, Content, Count, Maze, Move, Picture, Scene, Settings, Task};

/// The colour of the palette nearest to a pixel, if the pixel is neither paper nor rim.
fn color_of([r, g, b]: [u8; 3]) -> Option<Color> {
    let spread = r.max(g).max(b) - r.min(g).min(b);
    let off = |color: &Color| {
        color.rgb().iter().zip([r, g, b]).map(|(&a, b)| (i32::from(a) - i32::from(b)).pow(2)).sum::<i32>()
    };
    let nearest = *Color::ALL.iter().min_by_key(|color| off(color)).expect("colours");
    (spread > 60 && off(&nearest) < 3000).then_some(nearest)
}

/// Pixels that are not paper, within a box; the most frequent colour among them.
struct Blob {
    color: Option<Color>,
    shape: &'static str,
}

/// Widths of the rows at a tenth, a quarter, a half, three quarters and nine tenths of the height, by the width of the whole.
const PROFILES: [(&str, [f32; 5]); 6] = [
    ("circle", [0.6, 0.87, 1.0, 0.87, 0.6]),
    ("square", [1.0; 5]),
    ("triangle", [0.1, 0.25, 0.5, 0.75, 0.9]),
    ("diamond", [0.2, 0.5, 1.0, 0.5, 0.2]),
    ("cross", [0.34, 0.34, 1.0, 0.34, 0.34]),
    ("star", [0.07, 0.18, 0.71, 0.48, 0.56]),
];

fn blob(picture: &Picture, [left, top, right, bottom]: [usize; 4]) -> Option<Blob> {
    let paper = picture.pixel(left, top);
    let ink = |x: usize, y: usize| picture.pixel(x, y).iter().zip(paper).any(|(&a, b)| a.abs_diff(b) > 60);
    let rows: Vec<(usize, usize)> = (top..bottom)
        .filter_map(|y| {
            let mut inked = (left..right).filter(|&x| ink(x, y));
            inked.next().map(|first| (first, inked.next_back().unwrap_or(first)))
        })
        .collect();
    let (first, last) = (rows.iter().map(|r| r.0).min()?, rows.iter().map(|r| r.1).max()?);
    let wide = (last - first + 1) as f32;
    let at = |part: f32| {
        let (a, b) = rows[(part * rows.len() as f32) as usize];
        (b - a + 1) as f32 / wide
    };
    let profile = [0.1, 0.25, 0.5, 0.75, 0.9].map(at);
    let off = |wanted: &[f32; 5]| wanted.iter().zip(profile).map(|(a, b)| (a - b).abs()).sum::<f32>();
    let shape = PROFILES.iter().min_by(|a, b| off(&a.1).total_cmp(&off(&b.1))).expect("profiles").0;
    let colors = (top..bottom).flat_map(|y| (left..right).map(move |x| (x, y)));
    let colors: Vec<Color> = colors.filter_map(|(x, y)| color_of(picture.pixel(x, y))).collect();
    let color = colors.iter().max_by_key(|&a| colors.iter().filter(|&b| a == b).count()).copied();
    Some(Blob { color, shape })
}

/// The pixels of a cell, by the same rule as any reader with a ruler.
fn cell(count: &Count, picture: &Picture, x: u8, y: u8) -> [usize; 4] {
    let edge = |i: u8, n: u8, side: usize| usize::from(i) * side / usize::from(n);
    [
        edge(x - 1, count.columns, picture.width()),
        edge(y - 1, count.rows, picture.height()),
        edge(x, count.columns, picture.width()),
        edge(y, count.rows, picture.height()),
    ]
}

fn count_of(scene: &Scene) -> &Count {
    let Content::Count(count) = scene.content() else { panic!("task A") };
    count
}

#[test]
fn every_coordinate_of_a_thought_hits_its_object_and_no_object_is_left_out() {
    let settings = Settings { objects: [3, 16], ..of_task(Task::A) };
    let (mut all, mut mistaken) = (0, 0);
    for scene in scenes(&settings, 21, 150) {
        let (count, picture, thought) = (count_of(&scene), scene.draw(), scene.thought());
        let mut lines = Vec::new();
        for line in thought.lines().filter(|line| line.ends_with(['✓', '✗'])) {
            let words: Vec<&str> = line.split([' ', ':']).collect();
            let (x, y) = words[0].trim_matches(['(', ')']).split_once(',').expect("(x,y)");
            let (x, y): (u8, u8) = (x.parse().expect("x"), y.parse().expect("y"));
            let blob = blob(&picture, cell(count, &picture, x, y)).expect("something is in the cell");
            let color = blob.color.map(Color::word).expect("a colour of ours");
            assert!(words.contains(&color), "{color} is not in {line} of {scene:?}");
            all += 1;
            mistaken += usize::from(!words.contains(&blob.shape));
            lines.push((x, y));
        }
        for y in 1..=count.rows {
            for x in 1..=count.columns {
                let found = blob(&picture, cell(count, &picture, x, y)).is_some();
                assert_eq!(found, lines.contains(&(x, y)), "({x},{y}) of {scene:?}");
            }
        }
    }
    // Five row widths do not tell every shape of twelve pixels, but nearly.
    assert!(mistaken * 50 < all, "{mistaken} of {all} shapes mistaken by their outline");
}

#[test]
fn marks_of_a_thought_are_as_many_as_its_count() {
    for scene in scenes(&of_task(Task::A), 22, 500) {
        let thought = scene.thought();
        assert_eq!(thought.matches('✓').count().to_string(), scene.answer(), "{thought}");
        assert!(thought.ends_with(&format!("count {}", scene.answer())));
        let objects = shown(&scene)["objects"].as_array().map(Vec::len);
        assert_eq!(Some(thought.matches(['✓', '✗']).count()), objects);
    }
}

#[test]
fn what_is_seen_is_told_alike_and_what_is_asked_about_stands_before_the_mark() {
    let mut seen = [0; 3];
    for scene in scenes(&of_task(Task::A), 24, 500) {
        let (count, thought) = (count_of(&scene), scene.thought());
        let filter = count.question.filter;
        let asked = [filter.size.is_some(), filter.color.is_some(), filter.shape.is_some()];
        let mut objects: Vec<_> = count.objects.iter().collect();
        objects.sort_by_key(|object| (object.y, object.x));
        let lines = thought.lines().filter(|line| line.ends_with(['✓', '✗']));
        for (object, line) in objects.into_iter().zip(lines) {
            let named = [object.size.word(), object.color.word(), object.shape.word()];
            let last: Vec<&str> =
                named.into_iter().zip(asked).filter(|(_, asked)| *asked).map(|(word, _)| word).collect();
            let (place, rest) = line.split_once(": ").expect("a colon");
            let words: Vec<&str> = rest.split(' ').collect();
            assert_eq!(words[..words.len() - 1], last[..], "{line} of {:?}", scene.question());
            assert!(
                place.ends_with(&format!(" {} {}", named[1], named[2])),
                "{line} of {:?}",
                scene.question()
            );
            last.iter()
                .for_each(|word| seen[named.iter().position(|other| other == word).expect("named")] += 1);
        }
    }
    assert!(seen.iter().all(|&count| count > 100), "{seen:?}");
}

#[test]
fn a_terse_thought_is_the_same_without_the_words_asked_about() {
    let mut sized = 0;
    for scene in scenes(&of_task(Task::A), 26, 300) {
        let (long, terse) = (scene.thought(), scene.terse_thought());
        assert_eq!(long.lines().count(), terse.lines().count());
        for (long, terse) in long.lines().zip(terse.lines()) {
            let without = |line: &str| line.replace(" small", "").replace(" large", "");
            match long.split_once(':') {
                Some((seen, asked)) => {
                    let mark =
                        asked.chars().last().filter(|c| ['✓', '✗'].contains(c)).map(|c| format!(" {c}"));
                    assert_eq!(without(terse), format!("{seen}{}", mark.unwrap_or_default()), "{long}");
                }
                None => assert_eq!(terse, long),
            }
            sized += usize::from(without(terse) != terse);
        }
    }
    assert!(sized > 100, "{sized}");
    for task in [Task::B, Task::C, Task::D] {
        assert!(scenes(&of_task(task), 27, 20).iter().all(|scene| scene.terse_thought() == scene.thought()));
    }
}

#[test]
fn walls_are_dark_where_the_maze_has_them_and_only_there() {
    for scene in scenes(&of_task(Task::C), 23, 60) {
        let Content::Maze(maze) = scene.content() else { panic!("task C") };
        let picture = scene.draw();
        let margin = 0.04 * picture.width().min(picture.height()) as f32;
        let at = |x: f32, y: f32| {
            let place =
                |part: f32, n: u8, side: usize| margin + part / f32::from(n) * (side as f32 - 2.0 * margin);
            let (x, y) = (place(x, maze.columns, picture.width()), place(y, maze.rows, picture.height()));
            picture.pixel(x as usize, y as usize)
        };
        for y in 1..=maze.rows {
            for x in 1..=maze.columns {
                let (right, below) = ((f32::from(x), f32::from(y) - 0.5), (f32::from(x) - 0.5, f32::from(y)));
                for (place, step, last) in
                    [(right, Move::Right, x == maze.columns), (below, Move::Down, y == maze.rows)]
                {
                    let dark = at(place.0, place.1).iter().all(|&channel| channel < 150);
                    let wall = Maze::step(maze, [x, y], step).is_none();
                    assert!(last || dark == wall, "{step:?} of ({x},{y}): {:?}", at(place.0, place.1));
                }
            }
        }
        let middle = |[x, y]: [u8; 2]| color_of(at(f32::from(x) - 0.5, f32::from(y) - 0.5));
        assert_eq!((middle(maze.start), middle(maze.goal)), (Some(Color::Green), Some(Color::Red)));
    }
}

#[test]
fn bars_end_at_their_value() {
    for scene in scenes(&of_task(Task::D), 24, 300) {
        let Content::Chart(chart) = scene.content() else { continue };
        let picture = scene.draw();
        let rows_of = |color: Color| {
            let rows = (0..picture.height())
                .filter(|&y| (0..picture.width()).any(|x| color_of(picture.pixel(x, y)) == Some(color)));
            rows.count() as f32
        };
        // The scale is read from the picture too: rows of one bar by its value.
        let tallest = chart.bars.iter().max_by_key(|bar| bar.value).expect("bars");
        let unit = rows_of(tallest.color) / f32::from(tallest.value);
        for bar in &chart.bars {
            let read = rows_of(bar.color) / unit;
            assert!((read - f32::from(bar.value)).abs() < 0.4, "{bar:?} reads {read}");
        }
    }
}

#[test]
fn noise_and_clutter_leave_objects_their_colour() {
    let settings = Settings { clutter: 12, noise: 16, ..of_task(Task::A) };
    for scene in scenes(&settings, 25, 60) {
        let (count, picture) = (count_of(&scene), scene.draw());
        for object in &count.objects {
            let found = blob(&picture, cell(count, &picture, object.x, object.y)).and_then(|blob| blob.color);
            assert_eq!(found, Some(object.color), "({},{})", object.x, object.y);
        }
    }
    let plain = scenes(&of_task(Task::A), 25, 1)[0].draw();
    assert_ne!(scenes(&settings, 25, 1)[0].draw(), plain, "noise shows");
}
