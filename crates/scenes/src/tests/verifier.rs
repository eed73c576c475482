//! The verifier takes every right answer and no near miss.

use serde_json::json;

use super::{of_task, scenes};
use crate::{Content, Maze, Scene, Settings, Task};

#[test]
fn every_scene_takes_its_own_answer_however_it_is_set() {
    for scene in scenes(&Settings::default(), 31, 500) {
        let answer = scene.answer();
        for written in [answer.clone(), format!("\n{answer} \n"), format!("{answer}."), answer.to_uppercase()]
        {
            assert!(scene.verify(&written), "{written:?} for {scene:?}");
        }
        for wrong in
            ["", " ", ".", "✓", "unknown", &format!("{answer} {answer}"), &format!("-{answer}"), "answer"]
        {
            let walked_twice = scene.category() == "maze" && wrong.starts_with('-');
            assert!(walked_twice || !scene.verify(wrong), "{wrong:?} for {scene:?}");
        }
    }
}

#[test]
fn numbers_next_to_the_answer_are_wrong() {
    for scene in scenes(&Settings { tasks: vec![Task::A, Task::B], ..Settings::default() }, 32, 200) {
        let truth: i64 = scene.answer().parse().expect("a number");
        for near in [truth - 1, truth + 1, 10 * truth + 1, truth + 10] {
            assert!(!scene.verify(&near.to_string()), "{near} for {truth}");
        }
        assert!(!scene.verify(&format!("{truth} or {}", truth + 1)));
        assert!(!scene.verify(&format!("+{truth}")) && !scene.verify(&format!("{truth}x")));
    }
}

#[test]
fn times_next_to_the_answer_are_wrong() {
    let clock = |hour: u8, minute: u8| -> Scene {
        let frame = json!({"width": 112, "height": 112});
        serde_json::from_value(json!({"clock": {"frame": frame, "hour": hour, "minute": minute}}))
            .expect("a clock")
    };
    let scene = clock(4, 35);
    assert!(scene.verify("4:35") && scene.verify("04:35"));
    for wrong in ["4:34", "4:36", "5:35", "7:20", "16:35", "435", "4:3", "35:4", "4.35", "004:35", "4:35 pm"]
    {
        assert!(!scene.verify(wrong), "{wrong}");
    }
    assert!(!clock(10, 5).verify("1:05") && !clock(1, 5).verify("10:05") && !clock(4, 5).verify("4:5"));
}

/// Two by three rooms, a wall between the upper two: `S│.` over `. .` over `. G`.
fn maze() -> Scene {
    let frame = json!({"width": 112, "height": 112});
    let json = json!({"maze": {"frame": frame, "columns": 2, "rows": 3, "walls": [1, 0, 0, 0, 0, 0],
        "start": [1, 1], "goal": [2, 3]}});
    serde_json::from_value(json).expect("a maze")
}

#[test]
fn any_path_is_right_and_no_other_moves_are() {
    let scene = maze();
    for right in
        ["D R D", "D D R", "d,d,r", "DDR", "down, down, right", "↓ ↓ →", "D-R-D", "D R U D D", "D R L R D"]
    {
        assert!(scene.verify(right), "{right}");
    }
    let long = "D U ".repeat(12) + "D D R";
    for (wrong, why) in [
        ("R D D", "through the wall"),
        ("D D", "one step short"),
        ("D R D R", "through the outer wall"),
        ("D R D U", "leaves the goal again"),
        ("U D D R", "through the upper edge"),
        ("D D R forward", "a word that is no move"),
        ("D 1 D R x", "a letter that is no move"),
        ("", "no moves"),
        (&long, "27 moves in six rooms"),
    ] {
        assert!(!scene.verify(wrong), "{wrong}: {why}");
    }
}

#[test]
fn a_path_is_wrong_when_one_of_its_moves_is_left_out_or_turned_around() {
    for scene in scenes(&of_task(Task::C), 33, 100) {
        let Content::Maze(maze) = scene.content() else { panic!("task C") };
        let moves = maze.shortest().expect("a path");
        let text = |moves: Vec<char>| moves.iter().map(|c| format!("{c} ")).collect::<String>();
        for i in 0..moves.len() {
            let letters = |moves: &[crate::Move]| moves.iter().map(|m| m.letter()).collect::<Vec<char>>();
            let mut shorter = letters(&moves);
            shorter.remove(i);
            assert!(!scene.verify(&text(shorter)), "move {i} left out of {maze:?}");
            let mut turned = letters(&moves);
            turned[i] = match turned[i] {
                'U' => 'D',
                'D' => 'U',
                'L' => 'R',
                _ => 'L',
            };
            assert!(!scene.verify(&text(turned)), "move {i} turned around in {maze:?}");
        }
        let loops = detour(maze);
        assert!(scene.verify(&loops), "{loops} in {maze:?}");
    }
}

/// The shortest path with a step forth and back at its beginning.
fn detour(maze: &Maze) -> String {
    let path: String = maze.shortest().expect("a path").iter().map(|m| m.letter()).collect();
    let back = match &path[..1] {
        "U" => "D",
        "D" => "U",
        "L" => "R",
        _ => "L",
    };
    format!("{}{back}{path}", &path[..1])
}
