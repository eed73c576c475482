//! Random edits of answers, for as long as asked: `cargo run --release -p wethink-reward --example fuzz -- SECONDS [SEED]`.
//!
//! Looks for a panic, fuel overrun, a score outside [0, 1], a truth that rejects itself, and single verifications beyond 50 ms. Prints one JSON
//! object and exits with 1 if anything was found. The clock is here and not in the library.

use std::time::{Duration, Instant};

use serde_json::json;
use wethink_reward::{Decision, FUEL, Kind, Record, verify};

const SEEDS: &[&str] = &[
    "\\frac{1}{2}",
    "x^2 + 2x + 1 = 0",
    "\\left(-\\infty, \\frac{3}{4}\\right] \\cup [1, 2)",
    "\\begin{pmatrix} 1 & 2 \\\\ 3 & 4 \\end{pmatrix}",
    "\\sqrt[3]{2 + \\sin^2(\\pi x)}",
    "\\sum_{k=1}^{n} \\binom{n}{k} 2^k",
    "\\int_0^1 x^2 \\, dx",
    "\\frac{d}{dx} e^{x^2}",
    "x = 1 \\pm \\sqrt{5}, \\text{ or } y = 3",
    "1,234.5 \\text{ km/h}",
    "\\$ 3.50",
    "28\\%",
    "\\{x \\mid x > 2\\}",
    "204_5",
    "|x - 3| \\le 2",
    "<think>a</think><answer>(B) a dog</answer>",
    "[{\"bbox_2d\": [1, 2, 3, 4], \"label\": \"cat\"}]",
    "The answer is **twenty-five** dogs.",
    "9^{9^{9}}",
    "0.\\overline{3}",
    "½ + 2³ − ٣",
    "\\log_2 8 \\cdot \\gcd(12, 18)!",
];

fn mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A few cuts, repetitions and splices of seeds, at character borders.
fn mutated(state: &mut u64) -> String {
    let pick = |state: &mut u64| SEEDS[(mix(state) % SEEDS.len() as u64) as usize];
    let mut text: Vec<char> = pick(state).chars().collect();
    for _ in 0..mix(state) % 6 {
        let at = (mix(state) % (text.len() as u64 + 1)) as usize;
        match mix(state) % 5 {
            0 => text.truncate(at),
            1 => text.splice(at..at, pick(state).chars()).for_each(drop),
            2 => {
                let end = (at + (mix(state) % 8) as usize).min(text.len());
                let piece: Vec<char> = text[at..end].to_vec();
                for _ in 0..mix(state) % 40 {
                    text.splice(at..at, piece.iter().copied()).for_each(drop);
                }
            }
            3 if at < text.len() => drop(text.remove(at)),
            _ => {
                let marks: Vec<char> = "(){}[]^_|\\,.-+*/=<>!%$&0123456789eixd∞°".chars().collect();
                text.insert(at, marks[(mix(state) % marks.len() as u64) as usize]);
            }
        }
    }
    text.into_iter().collect()
}

fn main() {
    let mut args = std::env::args().skip(1);
    let seconds = args.next().and_then(|a| a.parse().ok()).unwrap_or(60);
    let mut state: u64 = args.next().and_then(|a| a.parse().ok()).unwrap_or(1);
    let start = Instant::now();
    let (mut runs, mut slowest, mut worst) = (0u64, Duration::ZERO, String::new());
    let mut found = Vec::new();
    while start.elapsed() < Duration::from_secs(seconds) && found.len() < 20 {
        let (gold, pred) = (mutated(&mut state), mutated(&mut state));
        let kind = if mix(&mut state).is_multiple_of(2) {
            Kind::Math
        } else {
            Kind::ALL[(mix(&mut state) % Kind::ALL.len() as u64) as usize]
        };
        let same = mix(&mut state).is_multiple_of(4);
        let record = Record::new(kind, gold.clone(), if same { gold.clone() } else { pred });
        let before = Instant::now();
        let outcome = verify(&record);
        let took = before.elapsed();
        if took > slowest {
            (slowest, worst) = (took, format!("{kind}: {gold} | {}", record.pred));
        }
        if took > Duration::from_millis(50) {
            found.push(format!("slow, {took:?}: {worst}"));
        }
        if let Ok(verdict) = outcome {
            let itself =
                same && kind == Kind::Math && !gold.contains('<') && verdict.verdict == Decision::Reject;
            if verdict.fuel > FUEL || !(0.0..=1.0).contains(&verdict.score) || itself {
                found.push(format!("{kind}: {gold} | {}: {verdict:?}", record.pred));
            }
        }
        runs += 1;
    }
    let report =
        json!({ "runs": runs, "slowest_us": slowest.as_micros() as u64, "slowest": worst, "found": found });
    println!("{}", serde_json::to_string_pretty(&report).expect("a JSON value"));
    std::process::exit(i32::from(!found.is_empty()));
}
