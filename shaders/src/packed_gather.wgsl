// Rows of a packed table by their numbers, unpacked: the embedding of tokens. The packing is described in packing.rs. A
// table that lies in several buffers is read by one launch each; a launch writes the rows that its part holds.
//
// Parallel: one invocation a word of a wanted row, 256 a workgroup; workgroups are folded into x and y.
// Shapes: ids [R]; words [N', K']; scales [N', S]; y [R, K]. Rows of y whose id is outside start .. start + part_rows are
//   left alone.
// Limits: every buffer below 2^32 elements.

struct Info {
    rows: u32,      // R
    width: u32,     // K, values of a row
    start: u32,     // number of the part's first row
    first: u32,     // rows of the buffer before the part's
    part_rows: u32, // rows of the part
    per_word: u32,  // values in a word: 8, 4 or 2
    row_words: u32, // K', words of a row
    row_scales: u32, // S, words of a row's scales
}

@group(0) @binding(0) var<storage, read_write> ids: array<u32>;    // [R], read
@group(0) @binding(1) var<storage, read_write> words: array<u32>;  // [N', K'], read
@group(0) @binding(2) var<storage, read_write> scales: array<u32>; // [N', S], read but for halves
@group(0) @binding(3) var<storage, read_write> y: array<f32>;      // [R, K], written where the part has the row
@group(0) @binding(4) var<uniform> info: Info;

fn scale_of(row: u32, block: u32) -> f32 {
    if (info.per_word == 2u) {
        return 1.0;
    }
    return unpack2x16float(scales[row * info.row_scales + block / 2u])[block % 2u];
}

// Value `i` of a word.
fn value_of(word: u32, i: u32) -> f32 {
    switch info.per_word {
        case 8u: {
            return f32((word >> (8u * (i % 4u) + 4u * (i / 4u))) & 15u) - 8.0;
        }
        case 4u: {
            return f32((bitcast<i32>(word) << (24u - 8u * i)) >> 24u);
        }
        default: {
            return unpack2x16float(word)[i];
        }
    }
}

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let item = (workgroup.y * workgroups.x + workgroup.x) * 256u + local;
    if (item >= info.rows * info.row_words) {
        return;
    }
    let r = item / info.row_words;
    let w = item % info.row_words;
    let id = ids[r];
    if (id < info.start || id - info.start >= info.part_rows) {
        return;
    }
    let row = info.first + id - info.start;
    let word = words[row * info.row_words + w];
    let scale = scale_of(row, w * info.per_word / 32u);
    for (var i = 0u; i < info.per_word; i++) {
        let column = w * info.per_word + i;
        if (column < info.width) {
            y[r * info.width + column] = value_of(word, i) * scale;
        }
    }
}
