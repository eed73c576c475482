// Product of many rows with a packed matrix, y = x W^T + bias: prompts and pictures. W's packing is described in
// packing.rs; x and the unpacked values stay f32 in workgroup memory, because this family's activations overflow half precision.
//
// Parallel: one workgroup of 256 for 64 rows of x and 64 of W; each invocation sums 4 x 4 products over blocks of 32
// columns, which the workgroup unpacks once. Workgroups are folded into x and y.
// Shapes: x [R, K]; words [N', K']; scales [N', S]; bias [N]; y [R, N]. Columns start .. start + out_rows of y belong to
//   rows first .. first + out_rows of words; the other columns are left alone.
// Limits: every buffer below 2^32 elements.

struct Info {
    rows: u32,      // R
    width: u32,     // K, values of a row of W
    out_rows: u32,  // rows of W in use
    first: u32,     // the first of them
    out_width: u32, // N, columns of y
    start: u32,     // the first column of y
    per_word: u32,  // values in a word: 8, 4 or 2
    row_words: u32, // K', words of a row of W
    row_scales: u32, // S, words of a row's scales
    biased: u32,    // 1: bias is added
}

@group(0) @binding(0) var<storage, read_write> x: array<f32>;      // [R, K], read
@group(0) @binding(1) var<storage, read_write> words: array<u32>;  // [N', K'], read
@group(0) @binding(2) var<storage, read_write> scales: array<u32>; // [N', S], read but for halves
@group(0) @binding(3) var<storage, read_write> bias: array<f32>;   // [N], read if biased
@group(0) @binding(4) var<storage, read_write> y: array<f32>;      // [R, N], written in part
@group(0) @binding(5) var<uniform> info: Info;

const TILE = 64u;  // rows of x and of W of a workgroup
const BLOCK = 32u; // columns at once: those that share a scale

var<workgroup> xs: array<f32, 2048>; // [column][row of x]
var<workgroup> ws: array<f32, 2048>; // [column][row of W]

fn stage_x(first_row: u32, column: u32, local: u32) {
    for (var at = local; at < TILE * BLOCK; at += 256u) {
        let row = first_row + at / BLOCK;
        let c = column + at % BLOCK;
        var value = 0.0;
        if (row < info.rows && c < info.width) {
            value = x[row * info.width + c];
        }
        xs[(at % BLOCK) * TILE + at / BLOCK] = value;
    }
}

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

fn stage_w(first_row: u32, block: u32, local: u32) {
    let block_words = BLOCK / info.per_word;
    for (var at = local; at < TILE * block_words; at += 256u) {
        let row = at / block_words;
        let w = at % block_words;
        var word = 0u;
        var scale = 0.0;
        if (first_row + row < info.out_rows) {
            let stored = info.first + first_row + row;
            word = words[stored * info.row_words + block * block_words + w];
            scale = scale_of(stored, block);
        }
        for (var i = 0u; i < info.per_word; i++) {
            ws[(w * info.per_word + i) * TILE + row] = value_of(word, i) * scale;
        }
    }
}

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let group = workgroup.y * workgroups.x + workgroup.x;
    let row_tiles = (info.rows + TILE - 1u) / TILE;
    if (group >= row_tiles * ((info.out_rows + TILE - 1u) / TILE)) {
        return;
    }
    let first_x = (group % row_tiles) * TILE;
    let first_w = (group / row_tiles) * TILE;
    let own_x = 4u * (local / 16u);
    let own_w = 4u * (local % 16u);

    var acc = array<vec4<f32>, 4>(vec4(0.0), vec4(0.0), vec4(0.0), vec4(0.0)); // [row of x] of 4 rows of W
    let blocks = info.row_words * info.per_word / BLOCK;
    for (var block = 0u; block < blocks; block++) {
        stage_x(first_x, block * BLOCK, local);
        stage_w(first_w, block, local);
        workgroupBarrier();
        for (var c = 0u; c < BLOCK; c++) {
            let at = c * TILE + own_w;
            let w = vec4(ws[at], ws[at + 1u], ws[at + 2u], ws[at + 3u]);
            for (var i = 0u; i < 4u; i++) {
                acc[i] += xs[c * TILE + own_x + i] * w;
            }
        }
        workgroupBarrier();
    }

    for (var i = 0u; i < 4u; i++) {
        let row = first_x + own_x + i;
        for (var j = 0u; j < 4u; j++) {
            let column = first_w + own_w + j;
            if (row < info.rows && column < info.out_rows) {
                var value = acc[i][j];
                if (info.biased == 1u) {
                    value += bias[info.start + column];
                }
                y[row * info.out_width + info.start + column] = value;
            }
        }
    }
}
