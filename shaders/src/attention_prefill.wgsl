// Causal attention of new tokens over a key-value cache (their own keys and values already appended), with grouped
// query heads: attended = softmax(scale * q k^T) v, by online softmax over tiles. Row b holds start[b] older tokens and
// count[b] new ones; query i < count[b] sits at position start[b] + i and sees positions 0 ..= start[b] + i. Queries
// i >= count[b] are padding: they give zeros, and nothing at or beyond start[b] + count[b] in the cache is read.
//
// Parallel: one workgroup of 8 x 8 invocations a tile of 32 queries of one head of one row. It walks over tiles of 32
// keys; head dims go through shared memory 32 at a time. An invocation owns 4 x 4 of the tile's scores and, of
// each chunk of 32 dims, 4 queries x 4 dims of the output. Workgroups are folded into x and y.
// Shapes: q and attended [B, Tq, Hq, D]; caches [B, Hkv, Tmax, D]; spans [B, 2]. Query head h reads cache head
//   h / (Hq / Hkv).
// Limits: D <= 128; Hkv divides Hq; every buffer below 2^32 elements; |scaled score| below 1e30. No score leaves the
//   workgroup. Loop bounds come from `info` and the workgroup's index alone: they are uniform.

struct Info {
    batch: u32,     // B
    tokens: u32,    // Tq, queries a row with padding
    heads: u32,     // Hq
    kv_heads: u32,  // Hkv
    head_dim: u32,  // D
    cache_len: u32, // Tmax, positions a row of the cache holds
    start_max: u32, // the largest start of any row
    scale: f32,     // multiplies the scores, 1 / sqrt(D)
}

@group(0) @binding(0) var<storage, read_write> q: array<f32>;        // [B, Tq, Hq, D], read
@group(0) @binding(1) var<storage, read_write> k_cache: array<f32>;  // [B, Hkv, Tmax, D], read
@group(0) @binding(2) var<storage, read_write> v_cache: array<f32>;  // [B, Hkv, Tmax, D], read
@group(0) @binding(3) var<storage, read_write> spans: array<u32>;    // [B, 2], read: start and count of each row
@group(0) @binding(4) var<storage, read_write> attended: array<f32>; // [B, Tq, Hq, D], written
@group(0) @binding(5) var<uniform> info: Info;

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
    row: u32,
    head: u32,
    first: u32,  // its first query
    count: u32,  // queries of this row
    filled: u32, // keys of this row
    cache: u32,  // where the row's cache head begins
    down: u32,   // this invocation owns queries first + 4 * down ..+ 4
    column: u32, // and keys or dims 4 * column ..+ 4 of a tile
}

// Element d of query i; 0 beyond the row's queries or the head's dims.
fn query(tile: Tile, i: u32, d: u32) -> f32 {
    if (i >= tile.count || d >= info.head_dim) {
        return 0.0;
    }
    return q[((tile.row * info.tokens + i) * info.heads + tile.head) * info.head_dim + d];
}

// Element d of the key at a position; 0 beyond what is filled or the head's dims.
fn key_element(tile: Tile, position: u32, d: u32) -> f32 {
    if (position >= tile.filled || d >= info.head_dim) {
        return 0.0;
    }
    return k_cache[tile.cache + position * info.head_dim + d];
}

// Likewise of the value.
fn value_element(tile: Tile, position: u32, d: u32) -> f32 {
    if (position >= tile.filled || d >= info.head_dim) {
        return 0.0;
    }
    return v_cache[tile.cache + position * info.head_dim + d];
}

// Four dims of query i, padding included, as far as there are that many.
fn store(tile: Tile, i: u32, d: u32, four: vec4<f32>) {
    let at = ((tile.row * info.tokens + i) * info.heads + tile.head) * info.head_dim;
    for (var e = 0u; e < 4u; e++) {
        if (i < info.tokens && d + e < info.head_dim) {
            attended[at + d + e] = four[e];
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
                query(tile, i, d),
                query(tile, i + 1u, d),
                query(tile, i + 2u, d),
                query(tile, i + 3u, d),
            );
            right[(n % TILE) * STRIDE + n / TILE] = vec4(
                key_element(tile, at, d),
                key_element(tile, at + 1u, d),
                key_element(tile, at + 2u, d),
                key_element(tile, at + 3u, d),
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
            value_element(tile, at, d),
            value_element(tile, at, d + 1u),
            value_element(tile, at, d + 2u),
            value_element(tile, at, d + 3u),
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
    let tiles = (info.tokens + TILE - 1u) / TILE;
    let group = workgroup.y * workgroups.x + workgroup.x;
    if (group >= info.batch * info.heads * tiles) {
        return;
    }
    let first = (group % tiles) * TILE;
    let head = (group / tiles) % info.heads;
    let row = group / (tiles * info.heads);
    let start = spans[2u * row];
    let count = min(spans[2u * row + 1u], info.tokens);
    let filled = min(start + count, info.cache_len);
    let cache = (row * info.kv_heads + head / (info.heads / info.kv_heads)) * info.cache_len * info.head_dim;
    let tile = Tile(row, head, first, count, filled, cache, local / SIDE, local % SIDE);
    // One past the last position that each of the four queries sees; 0 for padding.
    let own = vec4(first + 4u * tile.down) + vec4(0u, 1u, 2u, 3u);
    let seen = select(vec4(0u), min(vec4(start) + own + 1u, vec4(filled)), own < vec4(count));

    var maximum = vec4(LOWEST);             // of each query, over the keys so far
    var total = vec4(0.0);                  // of each query, over this invocation's keys
    var output: array<mat4x4<f32>, CHUNKS>; // [chunk][query] of 4 dims
    for (var c = 0u; c < CHUNKS; c++) {
        output[c] = mat4x4<f32>();
    }

    let key_end = min(info.start_max + min(first + TILE, info.tokens), info.cache_len);
    for (var key = 0u; key < key_end; key += TILE) {
        var scores = products(tile, key, local);
        for (var r = 0u; r < 4u; r++) {
            scores[r] = mask(scores[r], key + 4u * tile.column, seen[r]);
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
