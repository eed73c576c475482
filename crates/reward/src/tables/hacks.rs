//! Ways a policy has been seen to earn without being right, options that switch conventions, and input made to hurt.

use serde_json::{Value, json};

use super::math;
use crate::{Decision, FUEL, Kind, MAX_RESPONSE, Reason, Record, RewardMap, TruthError, Verdict, verify};

fn row(row: Value) -> Result<Verdict, TruthError> {
    Record::from_json(&row, &RewardMap::default()).and_then(|r| verify(&r))
}

#[test]
fn hacks_do_not_earn() {
    // (row, what it tries)
    let table = [
        (json!({"kind": "math", "gold": "5", "pred": "<answer></answer>"}), "an empty answer"),
        (json!({"kind": "mcq", "gold": "A", "pred": "\\boxed{}"}), "an empty box"),
        (
            json!({"kind": "math", "gold": "5", "pred": "so 5 it is", "opts": {"extract": "boxed"}}),
            "no box where one is asked",
        ),
        (
            json!({"kind": "math", "gold": "5", "pred": "5", "opts": {"extract": "answer_tag"}}),
            "no tag where one is asked",
        ),
        (
            json!({"kind": "math", "gold": "5", "pred": "5", "opts": {"extract": "after_think"}}),
            "no thinking where it is asked",
        ),
        (json!({"kind": "mcq", "gold": "A", "pred": "A/B/C"}), "a list of options"),
        (
            json!({"kind": "mcq", "gold": "A", "choices": ["cat", "dog"], "pred": "cat or dog"}),
            "both options",
        ),
        (
            json!({"kind": "math", "gold": "5", "pred": "<answer>4</answer><answer>5</answer>"}),
            "a second tag",
        ),
        (json!({"kind": "math", "gold": "5", "pred": "<think>5</think>"}), "the answer within the thinking"),
        (json!({"kind": "math", "gold": "5", "pred": "<think>\\boxed{5}"}), "thinking that never ends"),
        (
            json!({"kind": "format", "gold": "wethink", "pred": "<think></think><answer></answer>"}),
            "empty form",
        ),
        (json!({"kind": "math", "gold": "[2, \\infty)", "pred": "x \\ge 2"}), "the question's inequality"),
        (json!({"kind": "math", "gold": "42", "pred": "42 or 43"}), "two values"),
        (json!({"kind": "math", "gold": "42", "pred": "It is not 42"}), "a denial"),
        (json!({"kind": "math", "gold": "42", "pred": "\\boxed{41}, \\boxed{42}"}), "a box too many"),
        (json!({"kind": "edit_ratio", "gold": "1234", "pred": "1235"}), "almost the number"),
        (json!({"kind": "math", "gold": "0", "pred": "print(0) or open('f','w')"}), "program text"),
        (json!({"kind": "anls", "gold": "a", "pred": ""}), "nothing"),
        (json!({"kind": "boxes", "gold": [[0, 0, 9, 9]], "pred": "[]"}), "no boxes"),
        (json!({"kind": "yes_no", "gold": "no", "pred": "I do not know"}), "know"),
    ];
    for (input, tries) in table {
        let verdict = row(input.clone()).unwrap_or_else(|e| panic!("{input}: {e}"));
        assert!(!verdict.accepted() && verdict.score < 1.0, "{tries}: {input} {verdict:?}");
    }
    let flood: Vec<[i32; 4]> = (0..100).map(|i| [i, 0, i + 10, 10]).collect();
    let verdict =
        row(json!({"kind": "boxes", "gold": [[0, 0, 10, 10]], "pred": format!("{flood:?}")})).unwrap();
    assert!(verdict.score < 0.03, "a flood of boxes: {verdict:?}");
}

#[test]
fn conventions_are_switches() {
    // (gold, pred, opts, accepted)
    let table = [
        ("28\\%", "28", json!({}), true),
        ("28\\%", "28", json!({"percent": "exact"}), false),
        ("28\\%", "0.28", json!({"percent": "exact"}), true),
        ("28\\%", "0.28", json!({"percent": "dropped"}), false),
        ("5 cm", "5", json!({}), true),
        ("5 cm", "5", json!({"units": "required"}), false),
        ("5 cm", "50 mm", json!({"units": "required"}), true),
        ("5 cm", "5 m", json!({"units": "ignore"}), true),
        ("1/3", "0.33", json!({"tolerance": 0.02}), true),
        ("1/3", "0.3333", json!({"precision": 4}), true),
        ("[2,\\infty)", "x \\ge 2", json!({"allow_set_relation_comp": true}), true),
        ("\\{1,2\\}", "(2,1)", json!({"strict": false}), true),
        ("\\{1,2\\}", "(2,1)", json!({}), false),
        ("x = 4", "y = 4", json!({"strict": false}), true),
        ("\\text{Paris}", "paris", json!({"case": true}), false),
        ("9", "the value is 9", json!({"match_types": ["latex"]}), false),
        ("9", "the value is $9$", json!({"match_types": ["latex"]}), true),
    ];
    for (gold, pred, opts, accepted) in table {
        let verdict = row(json!({"kind": "math", "gold": gold, "pred": pred, "opts": opts})).unwrap();
        assert_eq!(verdict.accepted(), accepted, "{gold} | {pred} | {opts}: {verdict:?}");
    }
}

#[test]
fn malformed_truths_are_errors_that_name_the_field() {
    let table = [
        json!({"kind": "math", "gold": "", "pred": "1"}),
        json!({"kind": "math", "pred": "1"}),
        json!({"kind": "math", "gold": "1"}),
        json!({"kind": "maths", "gold": "1", "pred": "1"}),
        json!({"kind": 7, "gold": "1", "pred": "1"}),
        json!({"gold": "1", "pred": "1"}),
        json!({"kind": "math", "gold": "1", "pred": "1", "opts": {"extract": "first"}}),
        json!({"kind": "math", "gold": "1", "pred": "1", "opts": {"tolerance": -1.0}}),
        json!({"kind": "number", "gold": "x + 1", "pred": "1"}),
        json!({"kind": "count", "gold": "2.5", "pred": "1"}),
        json!({"kind": "mcq", "gold": "Z", "choices": ["a dog", "a cat"], "pred": "A"}),
        json!({"kind": "yes_no", "gold": "maybe", "pred": "yes"}),
        json!({"kind": "text", "gold": " . ", "pred": "yes"}),
        json!({"kind": "anls", "golds": [], "pred": "yes"}),
        json!({"kind": "box", "gold": [3, 0, 1, 1], "pred": "[0,0,1,1]"}),
        json!({"kind": "box", "gold": [0, 0, 1], "pred": "[0,0,1,1]"}),
        json!({"kind": "boxes", "gold": "no box", "pred": "[]"}),
        json!({"kind": "point", "gold": "1", "pred": "1, 2"}),
        json!({"kind": "format", "gold": "xml", "pred": "<a/>"}),
        json!({"kind": "relaxed", "gold": "", "pred": "1"}),
        json!({"kind": "math", "gold": "1".repeat(crate::MAX_TRUTH + 1), "pred": "1"}),
        json!(["kind", "math"]),
    ];
    for input in table {
        let error = row(input.clone())
            .expect_err(&input.to_string().chars().take(200).collect::<String>())
            .to_string();
        assert!(error.contains("field") || error.contains("kind") || error.contains("object"), "{error}");
    }
}

/// Text made to make a verifier slow, deep or large. Each is answered within the fuel, which bounds time.
#[test]
fn hostile_answers_get_a_verdict_within_the_fuel() {
    let n = 10_000;
    let hostile = [
        "9^{9^{9^{9}}}".to_owned(),
        "(10^7)!".into(),
        "((((10!)!)!)!)!".into(),
        format!("{}1{}", "(".repeat(n), ")".repeat(n)),
        "(".repeat(n),
        "{".repeat(n),
        "[".repeat(n),
        "|".repeat(n),
        "-".repeat(n) + "1",
        "\\sqrt".repeat(n),
        "\\frac".repeat(n),
        "\\frac{1}{".repeat(n),
        "1\\frac{".repeat(45) + "1" + &"1}2}".repeat(45),
        "x^".repeat(n) + "x",
        "x_{".repeat(n),
        "1+".repeat(n) + "1",
        "a/".repeat(700) + "b",
        "5".to_owned() + &"!".repeat(1_000),
        "\\frac{d}{dx}".repeat(60) + "\\sin(x^9 \\cos x)",
        "\\int_0^1 ".repeat(40) + "x" + &" dx".repeat(40),
        "\\sum_{k=1}^{1999} ".repeat(20) + "k",
        "(x+y+z+1)^{".repeat(20) + "12" + &"}".repeat(20),
        "((x+1)^{12}+1)^{12}".repeat(30),
        "\\pm".repeat(60) + "1",
        "\\begin{matrix}1&2\\\\3&4\\end{matrix}".repeat(50),
        "1,".repeat(2_000),
        "2^{2^{2^{2^{2^{2}}}}}".into(),
        "e^{e^{e^{e^{e^{10}}}}}".into(),
        "\\sin(10^{300})".into(),
        "0.".to_owned() + &"3".repeat(5_000),
        "1".repeat(4_000) + "^" + &"9".repeat(90),
        "\\binom{400}{200}^{".repeat(20) + "9" + &"}".repeat(20),
        "5".to_owned() + &"\\%".repeat(60),
        "\\$ 3.50".repeat(40),
        "3.50\\$".repeat(40) + &" percent".repeat(40),
        "\\left".repeat(n),
        "\\begin{".repeat(n),
        "$".repeat(n),
        "\\text{".repeat(n),
        "answer is ".repeat(n),
        "1e999".into(),
        "x \\in ".repeat(n) + "y",
        "\u{202e}\u{0}\u{feff}".repeat(100),
    ];
    for text in &hostile {
        for gold in ["x + 1", "[0, 1)", "\\{1, 2\\}", "3"] {
            for pred in [text.clone(), format!("\\boxed{{{text}}}"), format!("${text}$")] {
                let verdict = math(gold, &pred);
                assert!(verdict.fuel <= FUEL && !verdict.accepted(), "{gold} | {text:.60}: {verdict:?}");
            }
        }
        // As a truth it may be an error, never a hang; and it equals itself or is left open.
        if let Ok(verdict) = verify(&Record::new(Kind::Math, text.clone(), text.clone())) {
            assert_ne!(verdict.verdict, Decision::Reject, "{text:.60}: {verdict:?}");
        }
        for kind in Kind::ALL {
            let _ = verify(&Record::new(*kind, "1", text.clone()));
        }
    }
}

#[test]
fn a_reply_of_ten_megabytes_is_rejected_unread() {
    let huge = "5 ".repeat(5 << 20);
    for kind in [Kind::Math, Kind::Mcq, Kind::Text, Kind::Anls, Kind::YesNo] {
        let gold = match kind {
            Kind::Mcq => "A",
            Kind::YesNo => "yes",
            _ => "5",
        };
        let verdict = verify(&Record::new(kind, gold, huge.clone())).unwrap();
        assert_eq!((verdict.verdict, verdict.reason), (Decision::Reject, Reason::Limit), "{kind}");
    }
    // As long as is read at all, and of what every search would look for: quadratic work would take hours.
    for unit in [
        "word ",
        "\\begin{",
        "\\begin{a}",
        "\\(",
        "$",
        "$$ ",
        "\\boxed{",
        "answer is ",
        "1 ",
        "1,",
        "(",
        "A ",
        "<",
        "[1,",
        "\\text{",
    ] {
        let long = unit.repeat(MAX_RESPONSE / unit.len());
        for kind in Kind::ALL {
            let _ = verify(&Record::new(*kind, "1", long.clone()));
        }
    }
}
