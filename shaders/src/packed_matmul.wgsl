// Product of many rows with a packed matrix, y = x W^T + bias: prompts and pictures. W's packing is described in
// packing.rs; x and the unpacked values stay f32 in workgroup memory, because this family's activations overflow half precision.
//
// Parallel: one workgroup of 256 for 128 rows of x and 64 of W; each invocation sums 8 x 4 products over 16 columns at a
// time, which the workgroup unpacks once, into vectors of four rows. Workgroups are folded into x and y.
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

const ROWS_X = 128u; // rows of x of a workgroup
const ROWS_W = 64u;  // rows of W of a workgroup
const COLUMNS = 16u; // columns at once: half of those that share a scale

var<workgroup> xs: array<vec4<f32>, 512>; // [column][four rows of x], at place_x()
var<workgroup> ws: array<vec4<f32>, 256>; // [column][four rows of W], at place_w()

// Where four rows of a column lie: each column has another order, so that what is written side by side falls into
// different banks.
fn place_x(column: u32, quad: u32) -> u32 {
    return column * (ROWS_X / 4u) + (quad ^ column);
}

fn place_w(column: u32, quad: u32) -> u32 {
    return column * (ROWS_W / 4u) + (quad ^ column);
}

// Four numbers from `first` on, the last of `count` in place of what is behind it.
fn four_rows(first: u32, count: u32) -> vec4<u32> {
    return min(vec4(first) + vec4(0u, 1u, 2u, 3u), vec4(count - 1u));
}

// Sixteen columns of x from `column` on, zeros behind the last.
fn stage_x(first_row: u32, column: u32, local: u32) {
    let c = local % COLUMNS;
    for (var quad = local / COLUMNS; quad < ROWS_X / 4u; quad += 16u) {
        var four = vec4(0.0);
        if (column + c < info.width) {
            let at = four_rows(first_row + 4u * quad, info.rows) * info.width + vec4(column + c);
            four = vec4(x[at.x], x[at.y], x[at.z], x[at.w]);
        }
        xs[place_x(c, quad)] = four;
    }
}

// The scales of a block of four rows.
fn scales_of(rows: vec4<u32>, block: u32) -> vec4<f32> {
    if (info.per_word == 2u) {
        return vec4(1.0);
    }
    let at = rows * info.row_scales + vec4(block / 2u);
    let shift = vec4(16u * (block % 2u));
    let pair = vec4(scales[at.x], scales[at.y], scales[at.z], scales[at.w]) >> shift;
    return vec4(
        unpack2x16float(pair.x).x,
        unpack2x16float(pair.y).x,
        unpack2x16float(pair.z).x,
        unpack2x16float(pair.w).x,
    );
}

// Value `i` of a word of each of four rows.
fn values(word: vec4<u32>, i: u32) -> vec4<f32> {
    switch info.per_word {
        case 8u: {
            return vec4<f32>((word >> vec4(8u * (i % 4u) + 4u * (i / 4u))) & vec4(15u)) - 8.0;
        }
        case 4u: {
            return vec4<f32>(bitcast<vec4<i32>>(word << vec4(24u - 8u * i)) >> vec4(24u));
        }
        default: {
            let own = word >> vec4(16u * i);
            return vec4(
                unpack2x16float(own.x).x,
                unpack2x16float(own.y).x,
                unpack2x16float(own.z).x,
                unpack2x16float(own.w).x,
            );
        }
    }
}

// Sixteen columns of W from `column` on: each invocation unpacks four rows of one.
fn stage_w(first_row: u32, column: u32, local: u32) {
    let quad = local / COLUMNS;
    let c = local % COLUMNS;
    let rows = vec4(info.first) + four_rows(first_row + 4u * quad, info.out_rows);
    let at = rows * info.row_words + vec4((column + c) / info.per_word);
    let word = vec4(words[at.x], words[at.y], words[at.z], words[at.w]);
    ws[place_w(c, quad)] = values(word, c % info.per_word) * scales_of(rows, column / 32u);
}

// [row of x] of 4 rows of W.
fn outer(four: vec4<f32>, w: vec4<f32>) -> mat4x4<f32> {
    return mat4x4(four.x * w, four.y * w, four.z * w, four.w * w);
}

// Writes rows of x from `row` on, columns of W from `column` on, as far as there are that many.
fn store(row: u32, column: u32, sums: mat4x4<f32>) {
    for (var i = 0u; i < 4u; i++) {
        for (var j = 0u; j < 4u; j++) {
            if (row + i < info.rows && column + j < info.out_rows) {
                var value = sums[i][j];
                if (info.biased == 1u) {
                    value += bias[info.start + column + j];
                }
                y[(row + i) * info.out_width + info.start + column + j] = value;
            }
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
    let row_tiles = (info.rows + ROWS_X - 1u) / ROWS_X;
    if (group >= row_tiles * ((info.out_rows + ROWS_W - 1u) / ROWS_W)) {
        return;
    }
    let first_x = (group % row_tiles) * ROWS_X;
    let first_w = (group / row_tiles) * ROWS_W;
    let quad_x = local / 16u;
    let quad_w = local % 16u;
    let both = first_x + ROWS_X / 2u < info.rows; // whether the second half of the rows of x is there

    var low = mat4x4<f32>();  // [row of x] of 4 rows of W
    var high = mat4x4<f32>(); // the same 64 rows of x further
    for (var column = 0u; column < info.row_words * info.per_word; column += COLUMNS) {
        stage_x(first_x, column, local);
        stage_w(first_w, column, local);
        workgroupBarrier();
        for (var c = 0u; c < COLUMNS; c += 2u) {
            let w0 = ws[place_w(c, quad_w)];
            let w1 = ws[place_w(c + 1u, quad_w)];
            low += outer(xs[place_x(c, quad_x)], w0);
            low += outer(xs[place_x(c + 1u, quad_x)], w1);
            if (both) {
                high += outer(xs[place_x(c, quad_x + 16u)], w0);
                high += outer(xs[place_x(c + 1u, quad_x + 16u)], w1);
            }
        }
        workgroupBarrier();
    }

    store(first_x + 4u * quad_x, first_w + 4u * quad_w, low);
    if (both) {
        store(first_x + ROWS_X / 2u + 4u * quad_x, first_w + 4u * quad_w, high);
    }
}
