//! Work on the rows of a buffer, over the machine's threads. Each row is computed alone, so the result does not
//! depend on how many threads there are; in a browser's worker there is one.

/// Rows × row length below which starting threads costs more than it saves.
#[cfg(not(target_arch = "wasm32"))]
const WORTH_THREADS: usize = 1 << 16;

/// Calls `work(index, row)` for every row of `row_len` elements of `out`. `out.len()` is a multiple of `row_len`.
pub(crate) fn for_each_row<T: Send>(out: &mut [T], row_len: usize, work: impl Fn(usize, &mut [T]) + Sync) {
    if out.is_empty() {
        return;
    }
    #[cfg(not(target_arch = "wasm32"))]
    {
        let rows = out.len() / row_len;
        let threads = std::thread::available_parallelism().map_or(1, |n| n.get()).min(rows);
        if threads > 1 && out.len() >= WORTH_THREADS {
            let share = rows.div_ceil(threads);
            std::thread::scope(|scope| {
                for (block, chunk) in out.chunks_mut(share * row_len).enumerate() {
                    let work = &work;
                    scope.spawn(move || {
                        for (i, row) in chunk.chunks_mut(row_len).enumerate() {
                            work(block * share + i, row);
                        }
                    });
                }
            });
            return;
        }
    }
    for (i, row) in out.chunks_mut(row_len).enumerate() {
        work(i, row);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_visited_once_with_its_index() {
        // Few rows, fewer than threads, none, and enough elements for threads with a last block that is short.
        for (rows, row_len) in [(0, 3), (1, 5), (7, 11), (WORTH_THREADS / 16 + 1, 17)] {
            let mut out = vec![0usize; rows * row_len];
            for_each_row(&mut out, row_len, |index, row| row.iter_mut().for_each(|cell| *cell += index + 1));
            let wanted: Vec<usize> = (0..rows).flat_map(|index| vec![index + 1; row_len]).collect();
            assert_eq!(out, wanted);
        }
    }
}
