// Product of a few rows with a packed matrix, y = norm(x) W^T + bias: the matrix-vector product of decoding. The norm is
// x / sqrt(mean(x^2) + eps) * norm, its factor taken out of the sum; norm and bias are optional; what is there may be
// added to instead of replaced. W's packing is described in packing.rs.
//
// Parallel: one workgroup of 256 for one row of x and 16 of W, 64 invocations for four of them, each with every 64th unit
// of 16 bytes of all four, so that a vector of x is read once for four rows. What belongs to 64 units of x lies in
// workgroup memory, laid out unit by unit, with a vector between the lines so that they fall into different banks; the
// units of W are asked for before all of it is there. Workgroups for the same rows of W follow one another, so that a
// cache has them; they are folded into x and y.
// Shapes: x [R, K]; norm [K]; words [N', K']; scales [N', S]; bias [N]; y [R, N]. Columns start .. start + out_rows of y
//   belong to rows first .. first + out_rows of words; the other columns are left alone.
// Limits: K a multiple of 4; every buffer below 2^32 elements; |x| below about 1e17 under the norm, whose sum of squares
//   is f32; of |x| below about 1e-34 bits may be lost.

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
    normed: u32,    // 1: x is normed first
    eps: f32,       // added to the mean square
    biased: u32,    // 1: bias is added
    added: u32,     // 1: the product is added to y
    pad: u32,       // keeps the count of words even
}

@group(0) @binding(0) var<storage, read_write> x: array<vec4<f32>>;     // [R, K/4], read
@group(0) @binding(1) var<storage, read_write> norm: array<vec4<f32>>;  // [K/4], read if normed
@group(0) @binding(2) var<storage, read_write> words: array<vec4<u32>>; // [N', K'/4], read
@group(0) @binding(3) var<storage, read_write> scales: array<u32>;      // [N', S], read but for halves
@group(0) @binding(4) var<storage, read_write> bias: array<f32>;        // [N], read if biased
@group(0) @binding(5) var<storage, read_write> y: array<f32>;           // [R, N], written in part
@group(0) @binding(6) var<uniform> info: Info;

const LANES = 64u; // invocations of four rows of W
const GROUP = 16u; // rows of W of a workgroup
const LINE = 65u;  // vectors between a unit's first vector of x and its second

var<workgroup> staged: array<vec4<f32>, 520>; // [vector of a unit][unit and one] of x, in steps
var<workgroup> sums: array<vec4<f32>, 256>;   // [invocation] of four rows
var<workgroup> squares: array<f32, 256>;      // [invocation] of x

// What four neighbouring values of x are multiplied with, exactly, because their counterparts of W are read where they lie in
// a word, as multiples of these steps' inverses.
fn steps(vector: u32) -> vec4<f32> {
    if (info.per_word == 2u) {
        return vec4(1.0);
    }
    let nibble = select(1.0, 0.0625, info.per_word == 8u && (vector & 1u) == 1u);
    return nibble * vec4(1.0, 0.00390625, 1.0, 0.00390625);
}

// Lays out the vectors of a row of x from `first` on, zeros behind the last; the invocation's share of their sum of squares.
fn stage(r: u32, first: u32, local: u32) -> f32 {
    var sum = 0.0;
    for (var n = local; n < LANES * info.per_word; n += 256u) {
        let at = first + n;
        var four = vec4(0.0);
        var factor = vec4(1.0);
        if (at < info.width / 4u) {
            if (info.normed == 1u) {
                factor = norm[at];
            }
            four = x[r * (info.width / 4u) + at];
        }
        sum += dot(four, four);
        let vector = n & (info.per_word - 1u);
        staged[vector * LINE + (n >> countTrailingZeros(info.per_word))] = four * factor * steps(vector);
    }
    return sum;
}

// The bits of a word under a mask, less `zero`, as a number: a float of 2^23 and so many ones has them as its last bits.
fn field(word: vec4<u32>, mask: u32, zero: f32) -> vec4<f32> {
    return bitcast<vec4<f32>>((word & vec4(mask)) | vec4(0x4B000000u)) - vec4(8388608.0 + zero);
}

// One word of four bits a value, of each of four rows, with its eight values of x.
fn nibbles(word: vec4<u32>, low: vec4<f32>, high: vec4<f32>) -> vec4<f32> {
    let upper = word >> vec4(16u);
    return field(word, 0xFu, 8.0) * low.x + field(word, 0xF00u, 2048.0) * low.y
        + field(upper, 0xFu, 8.0) * low.z + field(upper, 0xF00u, 2048.0) * low.w
        + field(word, 0xF0u, 128.0) * high.x + field(word, 0xF000u, 32768.0) * high.y
        + field(upper, 0xF0u, 128.0) * high.z + field(upper, 0xF000u, 32768.0) * high.w;
}

// One word of eight bits a value, of each of four rows, with its four values of x.
fn bytes(word: vec4<u32>, four: vec4<f32>) -> vec4<f32> {
    let raised = word ^ vec4(0x80808080u);
    let upper = raised >> vec4(16u);
    return field(raised, 0xFFu, 128.0) * four.x + field(raised, 0xFF00u, 32768.0) * four.y
        + field(upper, 0xFFu, 128.0) * four.z + field(upper, 0xFF00u, 32768.0) * four.w;
}

// One word of two halves, of each of four rows, with its two values of x.
fn halves(word: vec4<u32>, two: vec2<f32>) -> vec4<f32> {
    return vec4(
        dot(unpack2x16float(word.x), two),
        dot(unpack2x16float(word.y), two),
        dot(unpack2x16float(word.z), two),
        dot(unpack2x16float(word.w), two),
    );
}

// The words that hold the scales of a block of four rows, whose scales begin at `rows`; ones where there are none.
fn scale_words(rows: vec4<u32>, block: u32) -> vec4<u32> {
    if (info.per_word == 2u) {
        return vec4(0x3C003C00u);
    }
    let at = rows + vec4(block / 2u);
    return vec4(scales[at.x], scales[at.y], scales[at.z], scales[at.w]);
}

// The block's scales in these words.
fn scales_in(pairs: vec4<u32>, block: u32) -> vec4<f32> {
    let own = pairs >> vec4(16u * (block % 2u));
    return vec4(
        unpack2x16float(own.x).x,
        unpack2x16float(own.y).x,
        unpack2x16float(own.z).x,
        unpack2x16float(own.w).x,
    );
}

// One unit of each of four rows with its values of x, which lie from `u` on.
fn product(a: vec4<u32>, b: vec4<u32>, c: vec4<u32>, d: vec4<u32>, u: u32) -> vec4<f32> {
    let word = array<vec4<u32>, 4>(
        vec4(a.x, b.x, c.x, d.x),
        vec4(a.y, b.y, c.y, d.y),
        vec4(a.z, b.z, c.z, d.z),
        vec4(a.w, b.w, c.w, d.w),
    );
    switch info.per_word {
        case 8u: {
            return nibbles(word[0], staged[u], staged[u + LINE])
                + nibbles(word[1], staged[u + 2u * LINE], staged[u + 3u * LINE])
                + nibbles(word[2], staged[u + 4u * LINE], staged[u + 5u * LINE])
                + nibbles(word[3], staged[u + 6u * LINE], staged[u + 7u * LINE]);
        }
        case 4u: {
            return bytes(word[0], staged[u]) + bytes(word[1], staged[u + LINE])
                + bytes(word[2], staged[u + 2u * LINE]) + bytes(word[3], staged[u + 3u * LINE]);
        }
        default: {
            return halves(word[0], staged[u].xy) + halves(word[1], staged[u].zw)
                + halves(word[2], staged[u + LINE].xy) + halves(word[3], staged[u + LINE].zw);
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
    let r = group % info.rows;
    let first_row = (group / info.rows) * GROUP;
    if (first_row >= info.out_rows) {
        return;
    }
    let lane = local % LANES;
    let row = first_row + 4u * (local / LANES);
    // Behind the last row, the last row is read once more.
    let rows = vec4(info.first) + min(vec4(row) + vec4(0u, 1u, 2u, 3u), vec4(info.out_rows - 1u));
    let row_units = info.row_words / 4u;

    var sum = vec4(0.0);
    var square = 0.0;
    for (var first_unit = 0u; first_unit < row_units; first_unit += LANES) {
        // Behind the last unit, the last unit is read once more; its values of x are zeros.
        let unit = min(first_unit + lane, row_units - 1u);
        let at = rows * row_units + vec4(unit);
        let a = words[at.x];
        let b = words[at.y];
        let c = words[at.z];
        let d = words[at.w];
        let block = unit * info.per_word / 8u;
        let pairs = scale_words(rows * info.row_scales, block);
        square += stage(r, first_unit * info.per_word, local);
        workgroupBarrier();
        sum += product(a, b, c, d, lane) * scales_in(pairs, block);
        workgroupBarrier();
    }

    sums[local] = sum;
    squares[local] = square;
    for (var half = 128u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if (local < half) {
            squares[local] += squares[local + half];
        }
        if (half < LANES && lane < half) {
            sums[local] += sums[local + half];
        }
    }
    workgroupBarrier();
    if (lane >= 4u || row + lane >= info.out_rows) {
        return;
    }
    var value = sums[local - lane][lane];
    if (info.normed == 1u) {
        value *= inverseSqrt(squares[0] / f32(info.width) + info.eps);
    }
    let column = info.start + row + lane;
    if (info.biased == 1u) {
        value += bias[column];
    }
    let at = r * info.out_width + column;
    if (info.added == 1u) {
        value += y[at];
    }
    y[at] = value;
}
