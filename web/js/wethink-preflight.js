// How much memory a GPU has room for, by allocating it: what an adapter reports as its limits says nothing of that.

/** Bytes of one buffer: the most that every WebGPU device allows. */
const CHUNK = 256 << 20;

/** Allocates up to `bytes` on a device of its own, writes to all of them, frees them, and tells how many there were. */
export async function allocate(bytes) {
  const adapter = await navigator.gpu?.requestAdapter();
  const device = await adapter?.requestDevice();
  if (!device) return 0;
  const buffers = [];
  let done = 0;
  try {
    while (done < bytes) {
      const size = Math.min(CHUNK, Math.ceil((bytes - done) / 4) * 4);
      if (!(await grow(device, size, buffers))) break;
      done += size;
    }
  } finally {
    buffers.forEach((buffer) => buffer.destroy());
    device.destroy();
  }
  return Math.min(done, bytes);
}

/** One more buffer; false if there is no room for it. */
async function grow(device, size, buffers) {
  for (const kind of ["out-of-memory", "validation", "internal"]) device.pushErrorScope(kind);
  buffers.push(device.createBuffer({ size, usage: GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST }));
  // Drivers promise memory that they do not have until it is written to.
  const encoder = device.createCommandEncoder();
  encoder.clearBuffer(buffers.at(-1));
  device.queue.submit([encoder.finish()]);
  const faults = await Promise.all([device.popErrorScope(), device.popErrorScope(), device.popErrorScope()]);
  if (faults.some((fault) => fault)) return false;
  // A device that is lost over it never says that the work is done.
  const lost = device.lost.then(() => false);
  return Promise.race([lost, device.queue.onSubmittedWorkDone().then(() => true)]);
}
