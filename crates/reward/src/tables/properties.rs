//! Properties over generated input.

use proptest::prelude::*;

use super::math;
use crate::{Decision, FUEL, Kind, Opts, Policy, Record, score, verify};

/// Expressions that parse, in LaTeX.
fn expression() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        (0..1000i32).prop_map(|n| n.to_string()),
        (1..99i32, 1..99i32).prop_map(|(a, b)| format!("\\frac{{{a}}}{{{b}}}")),
        (0..99i32, 0..999i32).prop_map(|(a, b)| format!("{a}.{b}")),
        prop_oneof![Just("x"), Just("y"), Just("n"), Just("\\pi"), Just("e"), Just("\\alpha"), Just("i")]
            .prop_map(str::to_owned),
    ];
    leaf.prop_recursive(4, 24, 3, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("{a} + {b}")),
            (inner.clone(), inner.clone())
                .prop_map(|(a, b)| format!("\\left({a}\\right) \\cdot \\left({b}\\right)")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("\\frac{{{a}}}{{{b} + 1}}")),
            (inner.clone(), 0..5u8).prop_map(|(a, n)| format!("\\left({a}\\right)^{{{n}}}")),
            inner.clone().prop_map(|a| format!("\\sqrt{{{a}}}")),
            inner.clone().prop_map(|a| format!("\\sin\\left({a}\\right)")),
            inner.prop_map(|a| format!("-\\left({a}\\right)")),
        ]
    })
}

/// Truths of every type.
fn truth() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => expression(),
        1 => (expression(), expression()).prop_map(|(a, b)| format!("\\left({a}, {b}\\right)")),
        1 => (expression(), expression()).prop_map(|(a, b)| format!("\\{{{a}, {b}\\}}")),
        1 => (-50..50i32, 1..50i32).prop_map(|(a, b)| format!("[{a}, {})", a + b)),
        1 => expression().prop_map(|a| format!("x = {a}")),
        1 => (expression(), expression()).prop_map(|(a, b)| format!("{a} \\le {b}")),
        1 => (0..500i32).prop_map(|a| format!("{a} \\text{{ cm}}")),
        1 => "[A-Za-z]{5,12}",
    ]
}

/// Anything a model might write: pieces of LaTeX, tags and digits in any order.
fn soup() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("\\frac"),
        Just("\\sqrt"),
        Just("{"),
        Just("}"),
        Just("("),
        Just(")"),
        Just("["),
        Just("]"),
        Just("^"),
        Just("_"),
        Just("\\left"),
        Just("\\right"),
        Just("|"),
        Just("1"),
        Just("9"),
        Just("x"),
        Just("e"),
        Just("\\pi"),
        Just("!"),
        Just(","),
        Just("\\boxed{"),
        Just("$"),
        Just("\\("),
        Just("\\)"),
        Just("<answer>"),
        Just("</answer>"),
        Just("<think>"),
        Just("</think>"),
        Just("\\begin{matrix}"),
        Just("\\end{matrix}"),
        Just("&"),
        Just("\\\\"),
        Just("="),
        Just("<"),
        Just("\\le"),
        Just("\\in"),
        Just("\\cup"),
        Just("\\infty"),
        Just("\\sum_{k=1}^{9}"),
        Just("\\int"),
        Just(" dx"),
        Just("%"),
        Just("°"),
        Just("cm"),
        Just("\\text{"),
        Just(" and "),
        Just("\\pm"),
        Just(":"),
        Just("."),
        Just("-"),
        Just("+"),
        Just("/"),
        Just("answer is "),
        Just("é"),
        Just("²"),
        Just("½"),
        Just("\n"),
        Just("A"),
        Just("yes"),
        Just("[1,2,3,4]"),
        Just("\\{"),
        Just("\\}"),
    ];
    prop::collection::vec(piece, 0..60).prop_map(|v| v.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]

    #[test]
    fn every_truth_equals_itself(gold in truth()) {
        let verdict = math(&gold, &gold);
        prop_assert!(verdict.accepted(), "{gold}: {verdict:?}");
        let boxed = math(&gold, &format!("<think>so</think>\n\\boxed{{{gold}}}"));
        prop_assert!(boxed.accepted(), "{gold}: {boxed:?}");
    }

    /// The arrows of `compare` coerce relations, lists and quantities one way; between scalars there is none.
    #[test]
    fn scalars_are_symmetric(a in expression(), b in expression()) {
        let (there, back) = (math(&format!("${a}$"), &format!("${b}$")), math(&format!("${b}$"), &format!("${a}$")));
        prop_assert!(
            there.verdict == back.verdict || Decision::Unsure == there.verdict || Decision::Unsure == back.verdict,
            "{a} | {b}: {there:?} {back:?}"
        );
    }

    #[test]
    fn appending_never_raises(gold in 0..20i32, said in 0..20i32, tail in soup(), extra in 0..20i32) {
        let policy = Policy::default();
        let before = format!("<think>t</think><answer>{said}</answer>");
        for after in [format!("{before}{tail}"), format!("{before}\\boxed{{{extra}}}"), format!("{before}</think><answer>{extra}</answer>")] {
            for kind in [Kind::Math, Kind::Count, Kind::Text] {
                let reward = |pred: &str| {
                    let record = Record::new(kind, gold.to_string(), pred);
                    score(&record, &policy, None).map(|s| s.reward.unwrap_or(0.0)).unwrap_or(0.0)
                };
                prop_assert!(reward(&after) <= reward(&before), "{kind} {gold}: {after}");
            }
        }
    }

    #[test]
    fn no_input_exceeds_its_fuel(gold in soup(), pred in soup()) {
        for kind in Kind::ALL {
            if let Ok(verdict) = verify(&Record::new(*kind, gold.clone(), pred.clone())) {
                prop_assert!(verdict.fuel <= FUEL && (0.0..=1.0).contains(&verdict.score), "{verdict:?}");
                if let Some([a, b]) = verdict.span {
                    prop_assert!(pred.get(a..b).is_some(), "span {a}..{b} of {pred:?}");
                }
            }
        }
    }

    #[test]
    fn nothing_depends_on_what_ran_before(gold in truth(), pred in expression()) {
        let record = Record { opts: Opts::default(), ..Record::new(Kind::Math, gold, pred) };
        prop_assert_eq!(verify(&record), verify(&record));
    }
}
