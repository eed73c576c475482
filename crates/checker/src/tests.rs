//! A file from its bytes to labels and back.

use serde_json::{Value, json};
use wethink_reward::{Choice, Key, Kind, Label, Policy};

use crate::{Differs, Filter, Format, Given, Mark, Seek, Setup, Sheet, Shown, Source};

fn sheet_of(name: &str, text: &str, change: impl FnOnce(&mut Setup)) -> Sheet {
    let source = Source::open(name, text.into()).unwrap();
    let mut setup = Setup { columns: crate::Columns::guess(source.names()), ..Setup::default() };
    change(&mut setup);
    let mut sheet = Sheet::new(setup);
    source.for_each(|line| sheet.push(line));
    while sheet.score(2) {}
    sheet
}

/// Five rows: right, wrong, undecided, at fault, wrong; and two broken lines.
fn rows() -> String {
    let rows = [
        json!({"id": "a", "kind": "number", "problem": "6·7?", "gold": "42", "pred": "<think>é 41</think><answer> 42 </answer>"}),
        json!({"id": "b", "kind": "number", "problem": "6·7?", "gold": "42", "pred": "41"}),
        json!({"id": "c", "kind": "open", "problem": "What?", "gold": "a cat", "pred": "a tabby"}),
        json!({"id": "d", "kind": "number", "problem": "?", "gold": "", "pred": "1"}),
        json!({"id": "e", "kind": "DES", "problem": "?", "gold": "1", "pred": "2"}),
    ];
    let mut lines: Vec<String> = rows.iter().map(Value::to_string).collect();
    lines.insert(1, "{\"id\": ".into());
    lines.insert(3, "{\"gold\": 1}".into());
    lines.join("\n")
}

fn sheet() -> Sheet {
    sheet_of("rows.jsonl", &rows(), |_| {})
}

fn mark(choice: Choice) -> Option<Mark> {
    Some(Mark {
        choice,
        note: "because".into(),
        annotator: "kim".into(),
        time: "2026-01-31T12:00:00Z".into(),
    })
}

fn verdicts(sheet: &Sheet) -> Vec<&'static str> {
    sheet.window(0, 10).iter().map(|brief| brief.verdict.name()).collect()
}

#[test]
fn broken_lines_are_told_by_number_and_the_rest_is_scored() {
    let sheet = sheet();
    assert_eq!(verdicts(&sheet), ["accept", "reject", "unsure", "fault", "fault"]);
    let (broken, count) = sheet.broken();
    assert_eq!((broken.iter().map(|b| b.line).collect::<Vec<_>>(), count), (vec![2, 4], 2));
    assert!(broken[1].problem.contains("no reply"), "{broken:?}");
    let detail = sheet.detail(0).unwrap();
    assert_eq!((detail.brief.line, detail.case.reply.think.as_str()), (1, "<think>é 41</think>"));
    let [a, b] = detail.case.reply.span.unwrap();
    assert_eq!(&detail.case.reply.body[a..b], "42");
    assert_eq!(detail.case.judged.unwrap().reward, Some(1.0));
    assert!(sheet.detail(3).unwrap().case.fault.unwrap().contains("gold"));
    assert!(sheet.detail(4).unwrap().case.fault.unwrap().contains("DES"));
    assert_eq!(sheet.detail(5), None);
}

#[test]
fn kinds_and_policy_are_changed_for_all_or_for_one() {
    let mut sheet = sheet();
    assert_eq!(
        sheet.names(),
        [
            ("DES".into(), None, 1),
            ("number".into(), Some(Kind::Number), 3),
            ("open".into(), Some(Kind::Open), 1)
        ]
    );
    let policy = Policy { accuracy: 1.0, format: 0.0, ..Policy::default() };
    let map = [("DES".to_owned(), Kind::Number)].into();
    sheet.set_up(Setup { map, policy, ..Setup::default() });
    assert_eq!(verdicts(&sheet)[0], "pending");
    while sheet.score(100) {}
    assert_eq!(verdicts(&sheet)[4], "reject");
    sheet.set_kind(2, Some(Kind::Anls));
    assert_eq!(verdicts(&sheet)[2], "reject");
    assert!(sheet.detail(2).unwrap().own_kind);
    sheet.set_kind(2, None);
    sheet.set_kind(99, None);
    assert_eq!(verdicts(&sheet)[2], "unsure");
}

#[test]
fn filters_hold_together_and_seeking_stays_within_them() {
    let mut sheet = sheet();
    sheet.mark(0, mark(Choice::Reject));
    sheet.mark(1, mark(Choice::Reject));
    let mut count = |filter: Filter| sheet.filter(filter);
    let none = Filter::default;
    assert_eq!(count(Filter { kind: Some("number".into()), ..none() }), 3);
    assert_eq!(count(Filter { kind: Some("DES".into()), ..none() }), 1);
    assert_eq!(count(Filter { verdict: Some(Shown::Fault), ..none() }), 2);
    assert_eq!(count(Filter { label: Some(Given::None), ..none() }), 3);
    assert_eq!(count(Filter { label: Some(Given::Reject), verdict: Some(Shown::Reject), ..none() }), 1);
    assert_eq!(count(Filter { differs: Some(Differs::Verdict), ..none() }), 1);
    assert_eq!(count(Filter { text: " TABBY ".into(), ..none() }), 1);
    assert_eq!((sheet.place(2), sheet.place(0), sheet.place(99)), (Some(0), None, None));
    sheet.filter(none());
    assert_eq!(sheet.seek(0, true, Seek::Unlabelled), Some(2));
    assert_eq!(sheet.seek(4, false, Seek::Differs), Some(0));
    assert_eq!(sheet.seek(0, true, Seek::Differs), None);
    assert_eq!(sheet.seek(99, true, Seek::Unlabelled), None);
}

#[test]
fn labels_are_exported_read_by_the_trainer_and_put_back() {
    let mut first = sheet();
    assert_eq!(first.mark(1, mark(Choice::Accept)), [1]);
    assert!(first.mark(99, None).is_empty());
    let lines = first.export(Format::Jsonl);
    let label = Label::from_line(&lines).unwrap();
    assert_eq!(
        (label.choice, label.note.as_str(), label.annotator.as_str()),
        (Choice::Accept, "because", "kim")
    );
    assert_eq!(label.key, Some(Key::of("6·7?", &["42"], "41")));
    let fields: Value = serde_json::from_str(&lines).unwrap();
    assert_eq!(
        (&fields["verdict"], &fields["line"], &fields["id"]),
        (&json!("reject"), &json!(3), &json!("b"))
    );
    let mut again = sheet();
    let gone = Label { key: Some(Key(1)), ..label.clone() };
    assert_eq!(again.restore(vec![label, gone]), 1);
    assert_eq!(again.export(Format::Jsonl), lines);
    assert_eq!(again.key(), first.key());
    again.mark(1, None);
    assert_eq!(again.export(Format::Jsonl), "");
}

#[test]
fn the_same_case_twice_is_labelled_once() {
    let row = json!({"kind": "number", "gold": "1", "pred": "1"}).to_string();
    let mut sheet = sheet_of("a.jsonl", &format!("{row}\n{row}\n"), |_| {});
    assert_eq!(sheet.mark(1, mark(Choice::Accept)), [0, 1]);
    assert_eq!(sheet.stats().labels, [2, 0, 0]);
}

#[test]
fn a_second_annotator_is_compared_by_key_or_id_from_either_form() {
    let mut theirs = sheet();
    for (row, choice) in [(0, Choice::Accept), (1, Choice::Accept), (2, Choice::Unsure)] {
        theirs.mark(row, mark(choice));
    }
    let mut ours = sheet();
    for (row, choice) in [(0, Choice::Accept), (1, Choice::Reject), (2, Choice::Accept), (3, Choice::Reject)]
    {
        ours.mark(row, mark(choice));
    }
    for (name, format) in [("theirs.jsonl", Format::Jsonl), ("theirs.csv", Format::Csv)] {
        let imported = ours.second(name, theirs.export(format).into_bytes()).unwrap();
        assert_eq!((imported.matched, imported.unmatched, imported.broken), (3, 0, 0), "{imported:?}");
        assert_eq!(imported.annotators, ["kim"]);
        let stats = ours.stats();
        assert_eq!(
            (stats.second.cases, stats.second.same, stats.second.false_accept, stats.split),
            (2, 1, 1, 2)
        );
        assert_eq!((stats.rule.cases, stats.rule.same, stats.verdicts), (2, 2, [1, 1, 1, 2]));
        assert_eq!(ours.filter(Filter { differs: Some(Differs::Second), ..Filter::default() }), 2);
    }
    let lines = "{\"id\": \"a\", \"label\": \"reject\"}\n{\"id\": \"z\", \"label\": \"reject\"}\n{\"label\": \"reject\"}\n";
    let imported = ours.second("ids.jsonl", lines.into()).unwrap();
    assert_eq!((imported.matched, imported.unmatched, imported.broken), (1, 1, 1));
    assert!(imported.first.unwrap().1.contains("neither"));
    ours.no_second();
    assert_eq!(ours.stats().second_labels, 0);
}

#[test]
fn csv_with_foreign_columns_is_read_once_they_are_mapped() {
    let text = "Frage;x,Wahrheit,Modell\n\"Wie viele, bitte?\",42,\"<answer>42</answer>\"\n";
    let sheet = sheet_of("a.csv", text, |setup| {
        setup.columns.set(crate::Role::Problem, Some("Frage;x".into()));
        setup.columns.set(crate::Role::Truth, Some("Wahrheit".into()));
        setup.columns.set(crate::Role::Reply, Some("Modell".into()));
        setup.kind = Some(Kind::Count);
    });
    assert_eq!(verdicts(&sheet), ["accept"]);
    assert_eq!(sheet.window(0, 1)[0].title, "Wie viele, bitte?");
}

#[test]
fn one_case_is_verified_or_says_what_is_wrong() {
    let policy = Policy::default();
    let good = crate::case(
        &json!({"kind": "mcq", "gold": "B", "pred": "(B)", "choices": ["cat", "dog"], "opts": {"odd": 1}}),
        &policy,
        None,
    );
    assert_eq!(good.judged.unwrap().verdict, Shown::Accept);
    assert_eq!((good.choices.len(), good.unknown), (2, vec!["odd".to_owned()]));
    let bad = crate::case(&json!({"kind": "nope", "gold": "B", "pred": "(B)"}), &policy, None);
    assert!(bad.judged.is_none() && bad.fault.unwrap().contains("nope"));
    assert_eq!(bad.reply.body, "(B)");
}
