//! A corpus of rows with known outcomes, from a seed.

use serde_json::{Value, json};

/// What the corpus is made of.
pub const MIX: &str = "60 % math: 45 of 100 numbers and fractions, 20 polynomials, 10 radicals, 8 sets and tuples, \
    7 intervals, 5 trigonometric or logarithmic identities, 3 huge powers, 2 matrices; half of them at the end of \
    1 to 4 kB of reasoning; half wrong. 40 % others: mcq, yes_no, count, number, text, anls, relaxed, f1, box, boxes in \
    equal parts, half wrong.";

/// SplitMix64.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    fn int(&mut self, low: i64, high: i64) -> i64 {
        low + self.below((high - low + 1) as u64) as i64
    }

    fn pick<'a>(&mut self, items: &[&'a str]) -> &'a str {
        items[self.below(items.len() as u64) as usize]
    }
}

/// `count` rows of the mix.
pub fn rows(count: usize, seed: u64) -> Vec<Value> {
    let mut rng = Rng(seed);
    (0..count)
        .map(|i| {
            let right = rng.below(2) == 0;
            let mut row = if rng.below(100) < 60 { math(&mut rng, right) } else { other(&mut rng, right) };
            row["id"] = json!(i);
            row["expected"] = json!(right);
            row
        })
        .collect()
}

/// A truth and an answer, equal or not.
fn pair(rng: &mut Rng, right: bool) -> (String, String) {
    let (a, b, c) = (rng.int(2, 90), rng.int(2, 40), rng.int(1, 9));
    let off = i64::from(!right);
    match rng.below(100) {
        0..=14 => (format!("{}", a * b), format!("{}", a * b + off)),
        15..=24 => (format!("\\frac{{{a}}}{{{}}}", a + b), format!("{}/{}", 2 * a + off, 2 * (a + b))),
        25..=34 => (format!("{a}.{c}"), format!("{a}.{c}{off}")),
        35..=44 => (format!("{},{:03}", a, b), format!("{} \\text{{ cm}}", 1000 * a + b + off)),
        45..=64 => {
            (format!("(x+{a})(x-{b})"), format!("x^2 + {}x - {}", a - b, a * b + off).replace("+ -", "- "))
        }
        65..=74 => (format!("\\sqrt{{{}}}", c * c * 2), format!("{}\\sqrt{{2}}", c + off)),
        75..=79 => (format!("({a}, {b}, {c})"), format!("({a}, {b}, {})", c + off)),
        80..=82 => (format!("\\{{{a}, {}, {}\\}}", -b, a + b), format!("{}, {}, {a}", a + b + off, -b)),
        83..=89 => (format!("[{}, {a})", -b), format!("[{}, {c}/10) \\cup [{c}/10, {})", -b, a + off)),
        90..=92 => (format!("\\sin(2x) + {c}"), format!("2\\sin x \\cos x + {}", c + off)),
        93..=94 => (format!("\\ln({} x)", a * b), format!("\\ln x + \\ln {a} + \\ln {}", b + off)),
        95..=97 => (format!("{b}^{{{}}}", 100 * a), format!("{b}^{{{}}} \\cdot {}", 100 * a - 1, b + off)),
        _ => (
            format!("\\begin{{pmatrix}} {a} & {b} \\\\ {c} & 1 \\end{{pmatrix}}"),
            format!("\\begin{{bmatrix}} {a} & {b} \\\\ {c} & {} \\end{{bmatrix}}", 1 + off),
        ),
    }
}

fn math(rng: &mut Rng, right: bool) -> Value {
    let (gold, answer) = pair(rng, right);
    let pred = match rng.below(4) {
        0 => format!("<think>\n{}\n</think>\n<answer>\n{answer}\n</answer>", reasoning(rng)),
        1 => format!("{} Therefore the final answer is \\boxed{{{answer}}}.", reasoning(rng)),
        2 => format!("\\boxed{{{answer}}}"),
        _ => format!("${answer}$"),
    };
    json!({ "kind": "math", "gold": gold, "pred": pred })
}

/// 1 to 4 kB of the kind of text that precedes an answer.
fn reasoning(rng: &mut Rng) -> String {
    let length = rng.int(1_000, 4_000) as usize;
    let mut text = String::new();
    while text.len() < length {
        let (a, b) = (rng.int(1, 99), rng.int(1, 99));
        text.push_str(&match rng.below(4) {
            0 => format!("We have $x = {a}$ and $y = {b}$, so $x + y = {}$. ", a + b),
            1 => format!("Looking at the picture, there are {a} of them on the left and {b} on the right. "),
            2 => format!("\\[ \\frac{{{a}}}{{{b}}} \\cdot {b} = {a} \\] "),
            _ => "Let me check that again before I go on. ".to_owned(),
        });
    }
    text
}

fn other(rng: &mut Rng, right: bool) -> Value {
    const NOUNS: [&str; 6] =
        ["red car", "wooden table", "tall building", "small dog", "blue umbrella", "open window"];
    const OTHERS: [&str; 4] = ["green bottle", "old bridge", "white cat", "city street"];
    let noun = rng.pick(&NOUNS);
    let said = if right { noun } else { rng.pick(&OTHERS) };
    let n = rng.int(2, 19);
    let m = if right { n } else { n + 1 };
    let wrap =
        |answer: String| format!("<think>\nI look at the picture.\n</think>\n<answer>\n{answer}\n</answer>");
    match rng.below(10) {
        0 => {
            let gold = rng.below(4);
            let chosen = if right { gold } else { (gold + 1) % 4 };
            let letter = |i: u64| char::from(b'A' + i as u8).to_string();
            json!({ "kind": "mcq", "gold": letter(gold), "choices": OTHERS, "pred": wrap(format!("({}) {}", letter(chosen), OTHERS[chosen as usize])) })
        }
        1 => {
            json!({ "kind": "yes_no", "gold": "yes", "pred": wrap(if right { "Yes, there is.".into() } else { "No.".into() }) })
        }
        2 => json!({ "kind": "count", "gold": n, "pred": wrap(format!("There are {m} of them.")) }),
        3 => json!({ "kind": "number", "gold": format!("{n}.5 cm"), "pred": wrap(format!("{m}5 mm")) }),
        4 => json!({ "kind": "text", "gold": noun, "pred": wrap(format!("The {said}.")) }),
        5 => json!({ "kind": "anls", "golds": [noun, "a thing"], "pred": wrap(said.to_owned()) }),
        6 => {
            json!({ "kind": "relaxed", "gold": n * 100, "pred": wrap(format!("{}", if right { n * 102 } else { n * 110 })) })
        }
        7 => json!({ "kind": "f1", "gold": noun, "pred": wrap(said.to_owned()) }),
        8 => {
            let at = if right { 2 } else { 300 };
            json!({ "kind": "box", "gold": [10, 10, 110, 110], "pred": wrap(format!("[{at}, 12, {}, 108]", at + 100)) })
        }
        _ => {
            let at = if right { 12 } else { 300 };
            json!({
                "kind": "boxes",
                "gold": [[10, 10, 110, 110]],
                "pred": wrap(format!("[{{\"bbox_2d\": [{at}, 12, {}, 108], \"label\": \"{noun}\"}}]", at + 100)),
            })
        }
    }
}
