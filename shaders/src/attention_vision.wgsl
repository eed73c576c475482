// Attention within segments: attended = softmax(scale * q k^T) v, by online softmax over tiles, each patch seeing every
// patch of its own segment and no other. Segments are the vision tower's windows, or whole pictures. There is no mask
// over pairs of patches; segments are given by where they begin.
//
// Parallel: one workgroup of 8 x 8 invocations a tile of 32 queries of one head of one segment. It walks over tiles of
// 32 keys; head dims go through shared memory 32 at a time. An invocation owns 4 x 4 of the tile's scores and, of
// each chunk of 32 dims, 4 queries x 4 dims of the output. Workgroups are folded into x and y.
// Shapes: qkv [P, 3, H, D] (q, k, v along the second axis, q and k turned already); bounds [S + 1], rising from 0 to P:
//   segment s holds patches bounds[s] .. bounds[s + 1]; attended [P, H, D].
// Limits: D <= 128; every buffer below 2^32 elements; |scaled score| below 1e30; no segment longer than `longest`, and
//   what lies beyond is not computed. No score leaves the workgroup. Loop bounds come from `info` alone: they are
//   uniform.

struct Info {
    segments: u32, // S
    longest: u32,  // patches of the longest segment
    heads: u32,    // H
    head_dim: u32, // D
    scale: f32,    // multiplies the scores, 1 / sqrt(D)
    pad: u32,      // keeps the count of words even
}

@group(0) @binding(0) var<storage, read_write> qkv: array<f32>;      // [P, 3, H, D], read
@group(0) @binding(1) var<storage, read_write> bounds: array<u32>;   // [S + 1], read
@group(0) @binding(2) var<storage, read_write> attended: array<f32>; // [P, H, D], written
@group(0) @binding(3) var<uniform> info: Info;

const TILE = 32u;     // queries of a tile, keys of a tile, dims of a chunk
const SIDE = 8u;      // invocations along a side of the tile
const STRIDE = 9u;    // vectors between rows of a shared tile: 8, and one so that columns fall into different banks
const CHUNKS = 4u;    // chunks of dims: D <= CHUNKS * TILE
const LOWEST = -1e30; // the score of a key that a query does not see

var<workgroup> left: array<vec4<f32>, 288>;  // queries as [dim][4 queries], then weights as [key][4 queries]
var<workgroup> right: array<vec4<f32>, 288>; // keys as [dim][4 keys], then values as [key][4 dims]
var<workgroup> across: array<vec4<f32>, 64>; // one value a query and invocation, to be reduced over a row of eight

// What a workgroup works on, and an invocation's place in it.
struct Tile {
    head: u32,
    first: u32,  // its first query
    end: u32,    // one past the segment's last patch
    down: u32,   // this invocation owns queries first + 4 * down ..+ 4
    column: u32, // and keys or dims 4 * column ..+ 4 of a tile
}

// Element d of q (part 0), k (1) or v (2) of a patch; 0 beyond the segment or the head's dims.
fn element(tile: Tile, part: u32, patch_index: u32, d: u32) -> f32 {
    if (patch_index >= tile.end || d >= info.head_dim) {
        return 0.0;
    }
    return qkv[((patch_index * 3u + part) * info.heads + tile.head) * info.head_dim + d];
}

// Four dims of a patch, as far as there are that many.
fn store(tile: Tile, patch_index: u32, d: u32, four: vec4<f32>) {
    for (var e = 0u; e < 4u; e++) {
        if (patch_index < tile.end && d + e < info.head_dim) {
            attended[(patch_index * info.heads + tile.head) * info.head_dim + d + e] = four[e];
        }
    }
}

// Four scores of one query, scaled; of keys first_key ..+ 4, those at or beyond `end` are not seen.
fn mask(scores: vec4<f32>, first_key: u32, end: u32) -> vec4<f32> {
    let keys = vec4(first_key) + vec4(0u, 1u, 2u, 3u);
    return select(vec4(LOWEST), scores * info.scale, keys < vec4(end));
}

// Weights of scores under a maximum; unseen keys weigh nothing even where the maximum itself is LOWEST.
fn weigh(scores: vec4<f32>, maximum: f32) -> vec4<f32> {
    return select(vec4(0.0), exp(scores - maximum), scores > vec4(LOWEST));
}

// One tile's scores before scale and mask, [query] of 4 keys, a chunk of dims at a time.
fn products(tile: Tile, key: u32, local: u32) -> mat4x4<f32> {
    var scores = mat4x4<f32>();
    for (var dim = 0u; dim < info.head_dim; dim += TILE) {
        workgroupBarrier();
        for (var n = local; n < TILE * SIDE; n += 64u) {
            let d = dim + n % TILE;
            let i = tile.first + 4u * (n / TILE);
            let at = key + 4u * (n / TILE);
            left[(n % TILE) * STRIDE + n / TILE] = vec4(
                element(tile, 0u, i, d),
                element(tile, 0u, i + 1u, d),
                element(tile, 0u, i + 2u, d),
                element(tile, 0u, i + 3u, d),
            );
            right[(n % TILE) * STRIDE + n / TILE] = vec4(
                element(tile, 1u, at, d),
                element(tile, 1u, at + 1u, d),
                element(tile, 1u, at + 2u, d),
                element(tile, 1u, at + 3u, d),
            );
        }
        workgroupBarrier();
        for (var d = 0u; d < TILE; d++) {
            let a = left[d * STRIDE + tile.down];
            let b = right[d * STRIDE + tile.column];
            scores += mat4x4(a.x * b, a.y * b, a.z * b, a.w * b);
        }
    }
    return scores;
}

// `sum`, [query] of 4 dims of a chunk, and the tile's values of that chunk under the weights that lie in `left`.
fn add_values(tile: Tile, key: u32, chunk: u32, local: u32, sum: mat4x4<f32>) -> mat4x4<f32> {
    workgroupBarrier();
    for (var n = local; n < TILE * SIDE; n += 64u) {
        let at = key + n / SIDE;
        let d = chunk * TILE + 4u * (n % SIDE);
        right[(n / SIDE) * STRIDE + n % SIDE] = vec4(
            element(tile, 2u, at, d),
            element(tile, 2u, at, d + 1u),
            element(tile, 2u, at, d + 2u),
            element(tile, 2u, at, d + 3u),
        );
    }
    workgroupBarrier();
    var total = sum;
    for (var n = 0u; n < TILE; n++) {
        let a = left[n * STRIDE + tile.down];
        let b = right[n * STRIDE + tile.column];
        total += mat4x4(a.x * b, a.y * b, a.z * b, a.w * b);
    }
    return total;
}

// The largest of what the eight invocations with the same queries left in `across`.
fn largest_across(tile: Tile) -> vec4<f32> {
    var largest = across[tile.down * SIDE];
    for (var n = 1u; n < SIDE; n++) {
        largest = max(largest, across[tile.down * SIDE + n]);
    }
    return largest;
}

// Likewise the sum.
fn sum_across(tile: Tile) -> vec4<f32> {
    var sum = vec4(0.0);
    for (var n = 0u; n < SIDE; n++) {
        sum += across[tile.down * SIDE + n];
    }
    return sum;
}

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let tiles = (info.longest + TILE - 1u) / TILE;
    let group = workgroup.y * workgroups.x + workgroup.x;
    if (group >= info.segments * info.heads * tiles) {
        return;
    }
    let head = (group / tiles) % info.heads;
    let segment = group / (tiles * info.heads);
    let begin = bounds[segment];
    let first = begin + (group % tiles) * TILE;
    let tile = Tile(head, first, bounds[segment + 1u], local / SIDE, local % SIDE);

    var maximum = vec4(LOWEST);             // of each query, over the keys so far
    var total = vec4(0.0);                  // of each query, over this invocation's keys
    var output: array<mat4x4<f32>, CHUNKS>; // [chunk][query] of 4 dims
    for (var c = 0u; c < CHUNKS; c++) {
        output[c] = mat4x4<f32>();
    }

    for (var past = 0u; past < info.longest; past += TILE) {
        let key = begin + past;
        var scores = products(tile, key, local);
        for (var r = 0u; r < 4u; r++) {
            scores[r] = mask(scores[r], key + 4u * tile.column, tile.end);
        }
        let by_key = transpose(scores); // [key] of 4 queries
        across[local] = max(max(by_key[0], by_key[1]), max(by_key[2], by_key[3]));
        workgroupBarrier();

        // Weights under the maximum so far; what was summed under the old one shrinks.
        let raised = max(maximum, largest_across(tile));
        let shrink = exp(maximum - raised);
        maximum = raised;
        for (var r = 0u; r < 4u; r++) {
            scores[r] = weigh(scores[r], maximum[r]);
        }
        let weights = transpose(scores);
        total = total * shrink + weights[0] + weights[1] + weights[2] + weights[3];
        for (var n = 0u; n < 4u; n++) {
            left[(4u * tile.column + n) * STRIDE + tile.down] = weights[n];
        }

        for (var c = 0u; c < CHUNKS; c++) {
            if (c * TILE < info.head_dim) {
                let old = output[c];
                let shrunk = mat4x4(old[0] * shrink.x, old[1] * shrink.y, old[2] * shrink.z, old[3] * shrink.w);
                output[c] = add_values(tile, key, c, local, shrunk);
            }
        }
    }

    // The weights of a query were summed by its eight invocations. Together they are about 1 or more where it sees a
    // key; where it sees none, weights and output are 0.
    workgroupBarrier();
    across[local] = total;
    workgroupBarrier();
    let norm = 1.0 / max(sum_across(tile), vec4(0.5));
    for (var r = 0u; r < 4u; r++) {
        for (var c = 0u; c < CHUNKS; c++) {
            store(tile, tile.first + 4u * tile.down + r, c * TILE + 4u * tile.column, output[c][r] * norm[r]);
        }
    }
}
