//! What `trainer grpo` learns, on whole models in seconds: from a reward for short responses, to be short.

use crate::grpo::number;
use crate::runs::{Bench, metrics};

/// A reward of −length, and nothing else: responses must come to their end earlier, down to the shortest there is.
#[test]
fn a_reward_for_short_responses_shortens_them() {
    let bench = Bench::new();
    let changes = [
        "reward={ accuracy = 0.0, format = 0.0, overlong = { limit = 12, margin = 12, weight = 1.0 } }",
        "rollout={ group = 24, max_new_tokens = 12, rows = 48, temperature = 1.0 }",
        "train={ steps = 20, prompts = 2, mini_batch = 2, micro_batch = 48, advantage = \"grpo\" }",
        "groups.head.learning_rate=1e-2",
        "groups.merger.learning_rate=0.0",
        "groups.language.learning_rate=1e-3",
        "save.every=100",
        "alarms.entropy=0.0",
    ];
    bench.succeed(&mut bench.grpo("short", &changes));
    let lengths: Vec<f64> =
        metrics(&bench.path("short")).iter().map(|line| number(line, "/length/mean")).collect();
    eprintln!("mean lengths: {lengths:?}");
    assert!(lengths[0] > 10.0, "a random model seldom stops: {}", lengths[0]);
    assert!(lengths[17..].iter().sum::<f64>() / 3.0 < 4.0, "{lengths:?}");
}
